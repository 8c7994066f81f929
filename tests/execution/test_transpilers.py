"""Which calibrations' transpilers are kept."""

from collections import OrderedDict

from qiskit.transpiler import Target

from scheduler_policies.device import DeviceLimits
from tasks.execution.qpu import QpuTarget, programs


def test_the_calibration_that_came_first_makes_room_for_the_seventeenth(monkeypatch):
    monkeypatch.setattr(programs, "_managers", OrderedDict())
    monkeypatch.setattr(programs, "generate_preset_pass_manager", lambda level, target, seed_transpiler: object())
    epochs = [f"epoch {number}" for number in range(17)]
    targets = [
        QpuTarget("QPU_A", Target(num_qubits=1), epoch, 1.0, (), ((0.0, 0.0),), 0.0, DeviceLimits(), ("$0",))
        for epoch in epochs
    ]
    made = [programs._manager(target, 1) for target in targets]
    assert [epoch for _, epoch, _ in programs._managers] == epochs[1:]
    assert programs._manager(targets[-1], 1) is made[-1], "kept"
