"""The transpiler of Qiskit's own stages writes the same circuits, and leaves the other stages as they were."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.transpiler import CouplingMap, generate_preset_pass_manager
from qiskit.transpiler.preset_passmanagers.plugin import list_stage_plugins

from tasks.execution.own_stages import own_stages
from tests.oracles import brickwork


@pytest.mark.parametrize("level", [0, 1, 2])
def test_circuits_are_the_same_without_the_stages_of_others(level):
    circuit = brickwork(5, 4, np.random.default_rng(level))
    before = list_stage_plugins("translation")
    asked = {"basis_gates": ["rz", "sx", "x", "cz"], "coupling_map": CouplingMap.from_line(5), "seed_transpiler": 3}
    theirs = generate_preset_pass_manager(level, **asked).run(circuit)
    with own_stages():
        assert not [name for name in list_stage_plugins("translation") if name.startswith("ibm")]
        ours = generate_preset_pass_manager(level, **asked)
    assert ours.run(circuit) == theirs, f"seed {level}"
    assert list_stage_plugins("translation") == before
