"""Options are checked when they are made: their types, their ranges, and what the message names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.cutting.cuts import GateCut
from tasks.errors import InputError
from tasks.options import Options, options_of


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("max_qubits", value) for value in ("2", 0, -1, True, 2.0, 2.5, [3], 10**7, np.float64(3))],
        *[("cuts", value) for value in ("ab", 3, [1], [GateCut(1), None], {"gates": [1]})],
        *[("shots", value) for value in (1000.5, 1e3, "10", 0, -5, True, np.True_, 10**11)],
        *[("seed", value) for value in (None, -1, 2**63, 1.0, "0")],
        *[("engine", value) for value in (None, "dask", "", 1)],
        *[("resources", value) for value in (3, "", b"x", True)],
        *[("memory_bytes", value) for value in ("4GiB", -1, 1e9, False)],
        *[("cache", value) for value in (None, "", True, 5)],
        *[("mitigation", value) for value in ("zen", None, ["none"], "NONE")],
        *[("policy", value) for value in ("cheapest", None, 3)],
        *[("budget", value) for value in (-3, 0, float("nan"), float("inf"), "3", True, 1j, Fraction(10**400))],
        *[("target_error", value) for value in (0.0, -0.1, "small", np.nan, 1e-300, 1e300)],
        *[("plan_seconds", value) for value in (-1, float("nan"), 1e308, 86_401, "3", True, 1j, Fraction(10**400))],
        *[("share_meaning", value) for value in (1, 0, None, "True", "yes")],
    ],
)
def test_a_value_that_cannot_be_used_names_its_option(field: str, value: Any) -> None:
    with pytest.raises(InputError) as error:
        options_of({field: value})
    assert error.value.field == field
    message = str(error.value)
    assert message.startswith(f"`{field}`: ") and "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("max_qubits", np.int64(3), 3),
        ("shots", np.uint8(7), 7),
        ("cuts", [GateCut(1)], (GateCut(1),)),
        ("cuts", (), ()),
        ("resources", "resources.xml", Path("resources.xml")),
        ("cache", Path("here"), "here"),
        ("budget", 3, 3.0),
        ("target_error", np.float32(0.5), 0.5),
        ("plan_seconds", Fraction(1, 2), 0.5),
        ("plan_seconds", 0, 0.0),
        ("share_meaning", np.True_, True),
        ("memory_bytes", None, None),
    ],
)
def test_values_of_other_types_that_mean_the_same_are_taken(field: str, value: Any, kept: Any) -> None:
    found = getattr(options_of({field: value}), field)
    assert found == kept and type(found) is type(kept)


def test_an_unknown_option_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(InputError, match="no option `max_qubit`: did you mean `max_qubits`") as error:
        options_of({"max_qubit": 3})
    assert error.value.field == "max_qubit"


def test_the_memory_guard_is_on_by_default() -> None:
    assert Options().memory_bytes is not None and Options().memory_bytes > 0
