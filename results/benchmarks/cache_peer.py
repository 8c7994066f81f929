"""Qdislib's semantic cache on given work. Runs in an environment of its own; speaks JSON on stdin and stdout.

Input: {"circuits": [OpenQASM 2, ...]} for keys and their time, {"wire_cut": {...}} for Qdislib's own cached workload,
or {"evolve": {...}} for circuits one after the other with its cache and without. Nothing of Qdislib is part of this
project; this script only calls the installed package.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time


def keys(texts: list[str]) -> list[list[object]]:
    """Key and CPU seconds of each circuit."""
    import qiskit.qasm2
    from Qdislib.utils.circuit_cache import semantic_key

    out: list[list[object]] = []
    for text in texts:
        circuit = qiskit.qasm2.loads(text, custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
        began = time.process_time()
        key = semantic_key(circuit, "qiskit")
        out.append([key, time.process_time() - began])
    return out


def wire_cut(work: dict) -> dict:
    """Qdislib's own wire cutting of a circuit with and without its cache, and what the cache did."""
    import qiskit.qasm2
    from Qdislib import InMemoryCircuitCache, wire_cutting

    circuit = qiskit.qasm2.loads(work["qasm"], custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    cuts = [tuple(cut) for cut in work["cuts"]]
    out: dict = {}
    for name, cache in (("off", None), ("on", InMemoryCircuitCache())):
        options = {"shots": work["shots"], "software": "qiskit", "backend": "aer", "observables": work["observable"]}
        began = time.perf_counter()
        if cache is None:
            from Qdislib import wire_cutting_subcircuits
            from Qdislib.utils.backends import expectation_value

            subcircuits = wire_cutting_subcircuits(circuit, cuts, observables=work["observable"], software="qiskit")
            value = subcircuits.reconstruct([expectation_value(s, shots=work["shots"]) for s in subcircuits])
            out["circuits"] = len(list(subcircuits))
        else:
            value = wire_cutting(circuit, cuts, cache=cache, **options)
            out["stats"] = cache.stats()
        out[name] = {"value": float(value), "seconds": time.perf_counter() - began}
    return out


def evolve(work: dict) -> dict:
    """Expectation values of circuits, each execution held for a while: without a cache, and with Qdislib's on LMDB."""
    import qiskit.qasm2
    from Qdislib.utils.backends import expectation_value
    from Qdislib.utils.circuit_cache import CountsStrategy, LMDBCircuitCache

    class Held(CountsStrategy):
        executed = 0

        def store(self, sim: object) -> tuple[object, object]:
            stored = super().store(sim)
            time.sleep(work["pace"])
            self.executed += 1
            return stored

    circuits = [qiskit.qasm2.loads(t, custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
                for t in work["circuits"]]  # fmt: skip
    out: dict = {}
    expectation_value(circuits[0], shots=work["shots"])  # what is loaded once is loaded then
    began = time.perf_counter()
    for circuit in circuits:
        expectation_value(circuit, shots=work["shots"])
        time.sleep(work["pace"])
    out["off"] = time.perf_counter() - began
    held = Held()
    cache = LMDBCircuitCache(work["folder"])
    began = time.perf_counter()
    out["values"] = [expectation_value(own, shots=work["shots"], cache=cache, cache_mode=held) for own in circuits]
    return {**out, "on": time.perf_counter() - began, "executed": held.executed}


def main() -> None:
    """Answers one request."""
    logging.disable(logging.CRITICAL)
    request = json.load(sys.stdin)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ((kind, work),) = request.items()
        answer = {"circuits": keys, "wire_cut": wire_cut, "evolve": evolve}[kind](work)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
