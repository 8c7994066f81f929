"""Plans of the benchmark's cases beside those of peers, with the time planning takes; part of ``planner.py``.

Peers get the same circuit and the same width: qiskit-addon-cutting's ``find_cuts`` (wires and gates, in a process that
is ended after its time), the qubit graph split by KaHyPar and by Mt-KaHyPar (gates only, the log of a gate's overhead
as the weight), and QCut, Qdislib and PennyLane in the interpreters named (``planner_peers.py``; circuits as they were
built, up to 100 qubits). All are priced alike: kappa**2, and predicted seconds of an exact run.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import select
import subprocess
import time
from collections.abc import Mapping
from functools import lru_cache
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
from qiskit import QuantumCircuit

from results.benchmarks.planner_problems import Case, cases, large
from results.benchmarks.steady import SteadyClock
from tasks.cutting import CuttingError, make_plan
from tasks.cutting.cuts import Cut, GateCut, WireCut
from tasks.cutting.lightcone import light_cone
from tasks.cutting.objectives import find_objective
from tasks.cutting.partition import partition
from tasks.cutting.search.candidates import forget
from tasks.cutting.search.multilevel import multilevel_blocks
from tasks.cutting.search.seen import gate_ends
from tasks.cutting.search.sketch import sketch_of
from tasks.inputs.validation import make_problem

DATA = Path(__file__).with_name("planner_plans.json")
ASKED = Path(__file__).with_name("planner_peers.json")
SHOTS = 10**10
PEER_S = 4.0
ELSEWHERE = {"qcut": "QCut", "qdislib": "Qdislib", "pennylane": "PennyLane"}
GRAPHS = {"Mt-KaHyPar": "mt", "KaHyPar": "kahypar"}
MODES = {"sampled": ("overhead", "kappa^2"), "exact": ("seconds", "predicted seconds")}
_MOST_BITS = 40  # of a fragment tensor: 8 TiB
_ELSEWHERE_S = 6.0
_MOST_QUBITS = 100
_WAIT_S = 0.5  # for the processor's full speed, before each plan
_TIMES, _LONG_S = 3, 1.0  # each is planned so often, or until it took so long, and the least counts
_MORE = 8  # of one that is short, where none of these ran at the processor's full speed


def main() -> None:
    """Plan what is not there yet, one case after the other."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text()) if DATA.exists() else []
    done = {(row["case"], row["width"], row["copy"]) for row in rows}
    every = [*(Case(name, build(), width) for name, build, widths in large() for width in widths), *cases(copies=1)]
    todo = [case for case in every if (case.name, case.width, case.copy) not in done]
    for case in todo:
        rows.append(planned(case))
        DATA.write_text(json.dumps(rows, indent=1))
        print(rows[-1], flush=True)


def ask_elsewhere(interpreters: Mapping[str, str]) -> None:
    """Ask peers in their interpreters what is not there yet; names are those of ``ELSEWHERE``."""
    rows: dict[str, Any] = json.loads(ASKED.read_text()) if ASKED.exists() else {}
    every = [case for case in cases(copies=0) if case.circuit.num_qubits <= _MOST_QUBITS]
    for name, interpreter in interpreters.items():
        with Peer(name, interpreter) as peer:
            for case in sorted(every, key=lambda case: len(case.circuit.data)):
                own = rows.setdefault(f"{case.name} in {case.width}", {})
                if ELSEWHERE[name] not in own:
                    own[ELSEWHERE[name]] = found_elsewhere(peer, case)
                    ASKED.write_text(json.dumps(rows, indent=1) + "\n")
                    print(name, case.name, case.width, own[ELSEWHERE[name]], flush=True)


def plan_again(first: int, last: int) -> None:
    """Plan these of the cases anew, ordered by their qubits; peers' plans stay."""
    rows: list[dict[str, Any]] = json.loads(DATA.read_text())
    every = {(case.name, case.width, case.copy): case for case in cases(copies=1)}
    every |= {(name, width, 0): Case(name, build(), width) for name, build, widths in large() for width in widths}
    for row in sorted(rows, key=lambda row: row["qubits"])[first:last]:
        row |= ours(every[row["case"], row["width"], row["copy"]])
        DATA.write_text(json.dumps(rows, indent=1))


def price_again() -> None:
    """Price peers' plans by today's constants."""
    every = {(case.name, case.width, case.copy): case for case in cases(copies=1)}
    every |= {(name, width, 0): Case(name, build(), width) for name, build, widths in large() for width in widths}
    rows: list[dict[str, Any]] = json.loads(DATA.read_text())
    asked: dict[str, Any] = json.loads(ASKED.read_text())
    for row in rows:
        case = every[row["case"], row["width"], row["copy"]]
        problem = make_problem(case.circuit, ["Z" * case.circuit.num_qubits])
        elsewhere = {} if case.copy else asked.get(f"{case.name} in {case.width}", {})
        for plan in (*row["peers"].values(), *elsewhere.values()):
            if plan is not None and "why" not in plan:
                plan |= priced(problem, cuts_of(plan))
    DATA.write_text(json.dumps(rows, indent=1))
    ASKED.write_text(json.dumps(asked, indent=1) + "\n")


def planned(case: Case) -> dict[str, Any]:
    """Ours and the peers' for one case."""
    circuit, width = case.circuit, case.width
    problem = make_problem(circuit, ["Z" * circuit.num_qubits])
    row = ours(case)
    peers = {name: graph_cuts(problem, width, library) for name, library in GRAPHS.items()}
    if circuit.num_qubits <= 100 and case.copy == 0:
        peers["find_cuts"] = in_time(circuit, width)
    row["peers"] = {
        name: None if cuts is None else priced(problem, cuts) | {"of": told_cuts(cuts)} for name, cuts in peers.items()
    }
    return row


@lru_cache
def _clock() -> SteadyClock:
    return SteadyClock()


def ours(case: Case) -> dict[str, Any]:
    """Plans for both ways through execution."""
    circuit, width = case.circuit, case.width
    row: dict[str, Any] = {"case": case.name, "qubits": circuit.num_qubits, "width": width, "copy": case.copy}
    for mode, shots in (("sampled", SHOTS), ("exact", None)):
        planning: list[float] = []
        full = False
        while (len(planning) < _TIMES and sum(planning) < _LONG_S) or (
            not full and len(planning) < _MORE and min(planning) < _LONG_S
        ):
            # A new one: what is known of a problem is kept with it.
            problem = make_problem(circuit, ["Z" * circuit.num_qubits])
            forget()
            gc.freeze()  # else one plan in dozens has to look through all that this program imported, for 0.2 s
            before, began = _clock().before(wait_s=_WAIT_S), time.process_time()
            plan, error = None, ""
            try:
                plan = make_plan(problem, max_qubits=width, shots=shots)
            except CuttingError as refusal:
                error = str(refusal)
            took = time.process_time() - began
            speed, stayed = _clock().speed(before)
            planning.append(took * speed)
            full = full or (stayed and _clock().full(speed))
        if plan is None:
            row[mode] = {"error": error, "planning": min(planning)}
            continue
        places = sorted((cut.instruction, cut.section) for cut in plan.cuts)
        name = hashlib.sha256(str(places).encode()).hexdigest()[:12]
        row[mode] = {**priced(problem, plan.cuts), "cuts": len(plan.cuts), "places": name, "planning": min(planning)}
    return row


class Peer:
    """A peer in an interpreter of its own, started again when it does not answer."""

    def __init__(self, name: str, interpreter: str):
        self._command = [interpreter, str(Path(__file__).with_name("planner_peers.py")), name]
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Peer:
        """As it is."""
        return self

    def __exit__(self, *_: object) -> None:
        """End its process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def asked(self, case: dict[str, Any]) -> dict[str, Any]:
        """Its answer, or why there is none."""
        if self._child is None:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps(case) + "\n")
        self._child.stdin.flush()
        ready, _, _ = select.select([self._child.stdout], [], [], case["seconds"] + 20)  # the first one imports
        if not ready:
            self.__exit__()
            return {"why": "late"}
        if not (line := self._child.stdout.readline()):
            self.__exit__()
            return {"why": "its process ended"}
        answer: dict[str, Any] = json.loads(line)
        return answer


def found_elsewhere(peer: Peer, case: Case) -> dict[str, Any]:
    """A peer's plan, priced; or why there is none."""
    problem = make_problem(case.circuit, ["Z" * case.circuit.num_qubits])
    circuit = problem.circuit
    gates = [
        [
            item.operation.name,
            [float(p) for p in item.operation.params],
            [circuit.find_bit(q).index for q in item.qubits],
        ]
        for item in circuit.data
    ]
    asked = {"qubits": circuit.num_qubits, "gates": gates, "width": case.width, "seconds": _ELSEWHERE_S}
    answer = peer.asked(asked)
    if "why" in answer:
        return answer
    cuts = (*map(GateCut, answer["gates"]), *(WireCut(*place) for place in answer["wires"]))
    try:
        return {**priced(problem, cuts), "own": answer["own"], "planning": answer["seconds"], "of": told_cuts(cuts)}
    except CuttingError as error:
        return {"why": str(error)}


def priced(problem: Any, cuts: tuple[Cut, ...]) -> dict[str, float]:
    """A peer's plan as ours are."""
    sketch = sketch_of(partition(problem, cuts))
    return {
        "overhead": sketch.overhead,
        "seconds": log2(sketch.seconds),
        "width": sketch.width,
        "bits": sketch.tensor_bits,
    }


def told_cuts(cuts: tuple[Cut, ...]) -> list[list[int]]:
    """What can be written down: instructions, with the qubit where a wire is cut."""
    return [[cut.instruction, cut.qubit] if isinstance(cut, WireCut) else [cut.instruction] for cut in cuts]


def cuts_of(plan: dict[str, Any]) -> tuple[Cut, ...]:
    """What was written down of a plan."""
    return tuple(WireCut(*place) if len(place) == 2 else GateCut(*place) for place in plan["of"])


def graph_cuts(problem: Any, width: int, library: str) -> tuple[Cut, ...] | None:
    """Gates between blocks of qubits, the least overhead of as few blocks as fit and of one more."""
    qubits = problem.num_qubits
    matters = light_cone(problem.circuit, np.asarray(problem.terms.support.any(axis=0)))
    ends = gate_ends(problem.circuit, matters, find_objective("overhead"))
    weights = ends.qubit_weights(qubits)
    best: tuple[float, tuple[Cut, ...]] | None = None
    for number in (ceil(qubits / width), ceil(qubits / width) + 1):
        if library == "mt":
            blocks = multilevel_blocks(weights, np.ones(qubits, dtype=np.int64), number, width)
        else:
            blocks = kahypar_blocks(weights, number, width)
        if blocks is None or np.bincount(blocks).max() > width:
            continue
        nodes = blocks[ends.qubits].reshape(-1)
        if best is None or ends.cost(nodes) < best[0]:
            best = ends.cost(nodes), ends.cuts(nodes)
    return None if best is None else best[1]


def kahypar_blocks(weights: Any, number: int, width: int) -> np.ndarray | None:
    """With the configuration that PennyLane ships its own cutting with (cut, k-way, kKaHyPar)."""
    try:
        import cotengra.pathfinders.path_kahypar as shipped
        import kahypar
    except ImportError:
        return None
    upper = weights.tocoo()
    pairs = [
        (int(a), int(b), max(1, round(16 * w))) for a, b, w in zip(*upper.coords, upper.data, strict=True) if a < b
    ]
    if number < 2 or not pairs:
        return None
    context = kahypar.Context()
    profile = Path(shipped.__file__).parent / "kahypar_profiles" / "cut_kKaHyPar_sea20.ini"
    if not profile.exists():
        return None
    context.loadINIconfiguration(str(profile))
    size = weights.shape[0]
    ends = [node for a, b, _ in pairs for node in (a, b)]
    graph = kahypar.Hypergraph(
        size, len(pairs), list(range(0, 2 * len(pairs) + 1, 2)), ends, number, [w for *_, w in pairs], [1] * size
    )
    context.setK(number)
    context.setCustomTargetBlockWeights([width] * number)
    context.suppressOutput(True)
    context.setSeed(0)
    kahypar.partition(graph, context)
    return np.array([graph.blockID(node) for node in range(size)])


def in_time(circuit: QuantumCircuit, width: int) -> tuple[Cut, ...] | None:
    """``find_cuts`` with its defaults, None where it finds nothing or takes longer than it may."""
    results: Any = multiprocessing.Queue()
    child = multiprocessing.Process(target=_find_cuts, args=(circuit, width, results))
    child.start()
    try:
        found = results.get(timeout=PEER_S)
    except Exception:
        found = None
    child.terminate()
    child.join()
    return found


def _find_cuts(circuit: QuantumCircuit, width: int, results: Any) -> None:
    from qiskit_addon_cutting import DeviceConstraints, OptimizationParameters, find_cuts

    try:
        out, _ = find_cuts(circuit, OptimizationParameters(seed=0), DeviceConstraints(width))
    except Exception:
        results.put(None)
        return
    cuts: list[Cut] = []
    waiting: set[int] = set()
    done = 0
    for item in out.data:
        qubits = [out.find_bit(q).index for q in item.qubits]
        if item.operation.name == "cut_wire":
            waiting.add(qubits[0])
            continue
        for q in sorted(waiting.intersection(qubits)):
            cuts.append(WireCut(done, q))
            waiting.discard(q)
        if item.operation.name == "qpd_2q":
            cuts.append(GateCut(done))
        done += 1
    results.put(tuple(cuts))


def best_peer(row: dict[str, Any], key: str) -> float | None:
    """Of those whose fragments keep the width and have tensors that can be held at all."""
    return min((peer[key] for peer in row["peers"].values() if fits(peer, row)), default=None)


def fits(peer: dict[str, Any] | None, row: dict[str, Any]) -> bool:
    """Whether a peer has a plan of the case's width."""
    return bool(peer) and "why" not in peer and peer["width"] <= row["width"] and peer.get("bits", 0.0) <= _MOST_BITS


if __name__ == "__main__":
    main()
