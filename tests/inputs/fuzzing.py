"""Inputs as a fuzzer makes them: good ones changed at random, and what becomes of them when they are read."""

from __future__ import annotations

import contextlib
import io
import json
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qiskit import QuantumCircuit, qpy

from apps.cli.arguments import build_parser
from apps.cli.chosen import options_from
from tasks.errors import QompassError
from tasks.inputs.validation import read_problem

SECONDS = 2.0  # of processor time; the machine may be busy with other things
_MESSAGE = 700  # characters of a refusal, names of files in it

_QASM2 = b"""OPENQASM 2.0;
include "qelib1.inc";
include "own.inc";
gate pair(t, s) a, b { rzz(t*2/pi) a, b; cx a, b; u3(-s, sin(t)^2, ln(2)) b; barrier a, b; }
qreg q[4]; creg c[4];
reset q; h q; own q[0], q[3]; pair(0.3, 1e-3) q[1], q[2]; cu1(pi/4) q[0], q[1]; ccx q[0], q[1], q[2];
barrier q; // if (c == 1) x q[0];
measure q -> c;
"""
_QASM3 = b"""OPENQASM 3.0;
include "stdgates.inc";
pragma keep this
const float[64] a = pi / 4; const int n = 4; array[float[64], 3] w = {0.1, 0.2, 0.3};
qubit[n] q; bit[n] c;
gate pair(t) x0, y0 { ctrl @ rz(t ** 2) x0, y0; inv @ s y0; gphase(t); }
for int i in [0:n - 2] { cx q[i], q[i + 1]; rz(w[i] * a) q[i]; }
if (n > 3) { pair(sqrt(2)) q[0], q[2]; } else { x q[0]; }
box { pow(2) @ sx q[1]; } int k = 0; while (k < 2) { k += 1; h q[k]; }
@note something
let both = q[0:1]; ctrl(2) @ x q[0], q[1], q[2]; U(0.1, 0.2, 0.3) both; c = measure q;
"""
_OWN = b"// ours\ngate own a, b { h a; cx a, b; }\n"
_TEXTS = (b"ZZIX", b"0.5*Z0 Z3 - 1.2*X1 + 0.1", b"-Z0*X2", b"(0.5+0j)*Y1Y2", b"3")
_OBSERVABLES = (
    b'[["ZZIX", 0.5], ["Z0 Z3", "(1+0j)"], ["IIII", [2, 0]]]',
    b'{"a": [["ZZII", 1]], "b": [["XXXX", -0.25], ["Y0", 1e-3]]}',
    b'{"ZZII": 1, "IIXX": 2.5}',
)
_CUTS = (b'{"gates": [9], "wires": [{"instruction": 7, "qubit": 1}]}', b'{"gates": []}', b"{}")
_OPTIONS = (
    ["--max-qubits", "3"], ["--shots", "1000"], ["--seed", "7"], ["--memory", "4GiB"], ["--target-error", "0.01"],
    ["--budget", "2.5"], ["--mitigation", "none"], ["--policy", "fastest"], ["--engine", "embedded"], ["--exact"],
)  # fmt: skip
_PIECES = (
    b"", b"\0", b"\xff", b"\xe9", b"\xef\xbb\xbf", b"\r", b'"', b"/*", b"*/", b"//", b"{", b"}", b"(" * 200,
    b")" * 200, b"[",     b"]", b";", b",", b"-" * 500, b"9" * 5000, b"1e999", b"-1", b"0", b"1000000000",
    b"4294967296", b"nan", b"inf", b"1/0",     b"2**2**2**2**9", b"gate", b"opaque foo a;", b"qreg r[1000000000];",
    b"qubit[2**40] r;", b"creg d[99999999];",     b'include "c.qasm";', b'include "/etc/passwd";', b'include "../x";',
    b'include "own.inc";', b"if (c == 1) x q[0];",     b"reset q[0];", b"measure q[0] -> c[0];", b"OPENQASM 3.0;",
    b"OPENQASM 2.0;", b"gate h a { x a; }", b"x q[0];",     b"for int i in [0:99999999] { x q[0]; }",
    b"while (true) { }", b"def f(qubit r) { x r; }", b"input float z;", b"pow(1e9) @",     b"ctrl(9999) @", b"inv @",
    b"negctrl @", b"$0", b"$99999999", b"Z", b"Z" * 5000, b"Z0", b"Z9999999999", b"j", b"*", b"+", b"^",     b"null",
    b"true", b"{}", b"[]", b"[" * 2000, b'"a"', b"ZZIX", b"\xf0\x9f\x98\x80", b"%s%n", b"\x1b[2J", b"pi", b"sin(",
    b"ln(0)",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of an input: the exit status that the command line would give, and what is wrong with that."""

    status: int
    seconds: float
    message: str
    wrong: str


def write_inputs(rng: np.random.Generator, folder: Path) -> list[str]:
    """Write good inputs with one to four changes somewhere in them, and give the arguments that name them."""
    circuit = QuantumCircuit(4, 2)
    for qubit in range(4):
        circuit.ry(0.3 * qubit + 0.1, qubit)
    circuit.cx(0, 1)
    circuit.rzz(0.4, 1, 2)
    circuit.mcx([0, 1, 2], 3)
    circuit.measure([0, 1], [0, 1])
    file = io.BytesIO()
    qpy.dump(circuit, file)
    contents = {
        "c.qasm": [_QASM2, _QASM3, file.getvalue()][rng.choice(3, p=[0.4, 0.4, 0.2])],
        "own.inc": _OWN,
        "text": _TEXTS[rng.integers(len(_TEXTS))],
        "o.json": _OBSERVABLES[rng.integers(len(_OBSERVABLES))],
        "cuts.json": _CUTS[rng.integers(len(_CUTS))],
        "option": b"\n".join(word.encode() for word in _OPTIONS[rng.integers(len(_OPTIONS))]),
    }
    target = str(rng.choice(list(contents), p=[0.45, 0.1, 0.15, 0.12, 0.1, 0.08]))
    for _ in range(rng.integers(1, 4)):
        contents[target] = _changed(rng, contents[target])
    for name in ("c.qasm", "own.inc", "o.json", "cuts.json"):
        (folder / name).write_bytes(contents[name])
    words = [contents[name].decode("utf-8", "surrogateescape") for name in ("text", "option")]
    arguments = ["run", str(folder / "c.qasm"), f"--observable={words[0]}", *words[1].split("\n")]
    if target == "o.json" or rng.random() < 0.2:
        arguments += ["--observables", str(folder / "o.json")]
    if target == "cuts.json" or rng.random() < 0.2:
        arguments += ["--cuts", str(folder / "cuts.json")]
    return arguments


def _changed(rng: np.random.Generator, content: bytes) -> bytes:
    start, end = sorted(rng.integers(len(content) + 1, size=2).tolist())
    end = min(end, start + 40)
    piece = _PIECES[rng.integers(len(_PIECES))]
    kind = rng.integers(7)
    if kind == 0:  # insert
        return content[:start] + piece + content[start:]
    if kind == 1:  # replace
        return content[:start] + piece + content[end:]
    if kind == 2:  # delete
        return content[:start] + content[end:]
    if kind == 3:  # say again, often
        return content[:end] + content[start:end] * int(rng.choice([1, 2, 100])) + content[end:]
    if kind == 4:  # flip a bit
        return (
            content[:start]
            + bytes(byte ^ (1 << rng.integers(8)) for byte in content[start : start + 1])
            + content[start + 1 :]
        )
    if kind == 5:  # end early
        return content[:end]
    lines = content.split(b"\n")  # lines in another order
    rng.shuffle(lines)  # type: ignore[arg-type]
    return b"\n".join(lines)


def outcome(arguments: list[str]) -> Outcome:
    """Read what a command line names, as `qompass run` does before it starts anything."""
    started = time.process_time()
    status, message, wrong = 0, "", ""
    streams = io.StringIO()
    try:
        with contextlib.redirect_stdout(streams), contextlib.redirect_stderr(streams):
            parsed = build_parser().parse_args(arguments)
            problem = read_problem(parsed.circuit, parsed.observable, parsed.observables)
            options_from(parsed, problem)
    except QompassError as error:
        status, message = 2, " ".join(str(error).split())
        if "\n" in str(error):
            wrong = "more than one line"
    except SystemExit as error:
        status, message = int(error.code or 0), streams.getvalue().strip()
        if status == 2 and "\n" in message:
            wrong = "more than one line"
    except Exception:
        status, wrong = 1, traceback.format_exc(limit=-6)
    seconds = time.process_time() - started
    if status == 2 and not 0 < len(message) <= _MESSAGE:
        wrong = wrong or f"a message of {len(message)} characters"
    if seconds > SECONDS:
        wrong = wrong or f"{seconds:.1f} s"
    return Outcome(status, seconds, message, wrong)


def attempt(seed: int, index: int, folder: Path) -> Outcome:
    """The input of that number of a seed, read; the same every time."""
    return outcome(write_inputs(np.random.default_rng([seed, index]), folder))


def described(seed: int, index: int, found: Outcome) -> str:
    """One entry of a report."""
    return json.dumps({"seed": seed, "index": index, "status": found.status, "wrong": found.wrong[-600:]})
