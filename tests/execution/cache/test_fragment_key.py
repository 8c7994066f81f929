"""Fragments that share a key have equal tensors, entry by entry; rewriting a fragment keeps its key."""

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile

from tasks.cutting.kinds.measured_gate import GateEnd
from tasks.cutting.kinds.wire import WireIn, WireOut
from tasks.cutting.plan import Fragment, Leg
from tasks.execution.cache import cost_benefit
from tasks.execution.cache.cache import open_cache
from tasks.execution.cache.fragment_key import fragment_key
from tasks.execution.cache.keys import AS_WRITTEN, BY_MEANING, Target
from tasks.execution.simulators.exact import exact_tensor
from tasks.execution.simulators.open_state import open_state
from tests.execution.cache.families import any_gates, padded

EXACT = Target("statevector", "1", method="open legs, complex128")


def tensor(fragment: Fragment) -> np.ndarray:
    return exact_tensor(fragment, open_state(fragment))


def random_segments(rng: np.random.Generator, n: int, length: int, count: int) -> list[QuantumCircuit]:
    """Unitary pieces of circuit, of few gates and few angles, so that equal meanings turn up."""
    pieces = [any_gates(rng, n, int(rng.integers(0, length)), middle=False) for _ in range(count)]
    for piece in pieces:
        piece.remove_final_measurements()
    return pieces


def assemble(segments: list[QuantumCircuit], legs: list[tuple[str, int, int]], factors: np.ndarray) -> Fragment:
    """Put segments one after the other, leg k before segment k + 1 (a wire's legs at the ends)."""
    n = segments[0].num_qubits
    circuit = QuantumCircuit(n)
    positions = []
    for piece in segments:
        positions.append(len(circuit.data))
        circuit.compose(piece, inplace=True)
    end = len(circuit.data)
    placed = []
    for k, (kind, qubit, rank) in enumerate(legs):
        position = {"wire_in": 0, "wire_out": end}.get(kind, positions[min(k + 1, len(positions) - 1)])
        made = {"wire_in": WireIn(), "wire_out": WireOut()}.get(kind, GateEnd(rank))
        placed.append(Leg(k, 0 if kind == "wire_out" else 1, made, qubit, position))
    return Fragment(0, circuit, tuple(placed), (), factors[0], factors[1])


def random_fragment(rng: np.random.Generator, length: int) -> tuple[list[QuantumCircuit], list, np.ndarray]:
    n = int(rng.integers(1, 4))
    legs: list[tuple[str, int, int]] = []
    out = int(rng.integers(n)) if rng.random() < 0.5 else -1
    if rng.random() < 0.5:
        legs.append(("wire_in", int(rng.integers(n)), 2))
    for _ in range(int(rng.integers(0, 3))):
        legs.append(("gate", int(rng.integers(n)), int(rng.choice([2, 2, 4]))))
    if out >= 0:
        legs.append(("wire_out", out, 2))
    factors = rng.integers(0, 2, (2, 3, n)).astype(bool)
    if out >= 0:
        factors[:, :, out] = False
    return random_segments(rng, n, length, len(legs) + 1), legs, factors


@pytest.mark.parametrize("block", range(3))
def test_fragments_that_share_a_key_have_equal_tensors(block: int) -> None:
    known: dict[bytes, tuple[int, np.ndarray]] = {}
    hits = 0
    for seed in range(block * 150, block * 150 + 150):
        rng = np.random.default_rng(seed)
        rng_small = np.random.default_rng([seed % 10, 7])  # few leg layouts, many circuits on each
        _, legs, factors = random_fragment(rng_small, 3)
        segments = random_segments(rng, factors.shape[2], 4, len(legs) + 1)
        fragment = assemble(segments, legs, factors)
        key = fragment_key(fragment, EXACT)
        assert key.level == BY_MEANING
        value = tensor(fragment)
        if key.digest in known:
            other, expected = known[key.digest]
            hits += 1
            assert np.abs(value - expected).max() < 1e-11, f"seeds {other} and {seed} share a key wrongly"
        known.setdefault(key.digest, (seed, value))
    assert hits >= 5, hits


def in_another_basis(piece: QuantumCircuit, rng: np.random.Generator) -> QuantumCircuit:
    """Resynthesise without moving a qubit."""
    return transpile(piece, basis_gates=["rz", "sx", "cx"], optimization_level=1, seed_transpiler=1)


@pytest.mark.parametrize(("rewrite", "least"), [(padded, 40), (in_another_basis, 18)])
def test_rewritten_fragments_keep_their_key(rewrite, least: int) -> None:
    same = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        segments, legs, factors = random_fragment(rng, 10)
        fragment = assemble(segments, legs, factors)
        again = assemble([rewrite(piece, rng) for piece in segments], legs, factors)
        assert np.abs(tensor(fragment) - tensor(again)).max() < 1e-10, f"seed {seed}"
        same += fragment_key(fragment, EXACT).digest == fragment_key(again, EXACT).digest
    assert same >= least, f"{same} of 40"


def test_legs_keep_their_identity() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(0.4, 0)
    factors = np.array([[[False, True]], [[False, False]]])

    def one(legs: tuple[Leg, ...]) -> bytes:
        return fragment_key(Fragment(0, circuit, legs, (), factors[0], factors[1]), EXACT).digest

    before, after = Leg(0, 0, GateEnd(), 0, 0), Leg(0, 0, GateEnd(), 0, 1)
    assert one((before,)) != one((after,))
    assert one((before, after)) != one((after, before))
    assert one((after,)) != one((Leg(0, 0, GateEnd(), 1, 1),))
    assert one((after,)) != one((Leg(0, 0, GateEnd(4), 0, 1),))


def test_a_key_by_meaning_is_made_where_it_costs_little_beside_what_it_may_spare(tmp_path) -> None:
    """Rewritten, a fragment that takes long is found; one that takes less than twenty keys is keyed as written."""
    rng = np.random.default_rng(3)
    segments, legs, factors = random_fragment(rng, 12)
    one = assemble(segments, legs, factors)
    for segment in segments:
        segment.h(0)
        segment.h(0)
    other = assemble(segments, legs, factors)
    cache = open_cache(str(tmp_path))
    for seconds, level in ((1e-3, AS_WRITTEN), (100.0, BY_MEANING)):
        (key, written), (again, differently) = (cache.tensor_key(f, EXACT, seconds) for f in (one, other))
        assert key.level == again.level == level and written != differently
        assert (key.digest == again.digest) == (level == BY_MEANING)
    assert cache.tally.meaning_keys == 2
    costs = 3e-4 + (len(one.circuit.data) + one.num_factors + 2 * len(one.legs)) * 6e-5
    assert cost_benefit.meaning_pays(one, 20.1 * costs) and not cost_benefit.meaning_pays(one, 19.9 * costs)
    cache.close()


def test_the_cache_gives_back_the_very_tensor(where: str) -> None:
    rng = np.random.default_rng(11)
    fragments = [assemble(*random_fragment(rng, 8)) for _ in range(6)]
    fragments.append(fragments[2])
    keys = [fragment_key(f, EXACT) for f in fragments]
    computed: list[int] = []

    def compute(indices: list[int]) -> list[np.ndarray]:
        computed.extend(indices)
        return [tensor(fragments[i]) for i in indices]

    cache = open_cache(where)
    cold, warm = cache.arrays(keys, compute), cache.arrays(keys, compute)
    assert sorted(computed) == [0, 1, 2, 3, 4, 5]
    for fragment, a, b in zip(fragments, cold, warm, strict=True):
        assert a is not None and b is not None
        assert np.array_equal(a.array, b.array) and np.array_equal(a.array, tensor(fragment))
        assert b.from_cache
    cache.close()


def test_a_fragment_too_long_to_order_is_keyed_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.execution.cache.semantic.canonical.MOST_OPERATIONS", 2)
    rng = np.random.default_rng(4)
    fragments = [assemble(*random_fragment(rng, 12)) for _ in range(2)]
    keys = [fragment_key(f, EXACT) for f in fragments]
    assert [key.level for key in keys] == [AS_WRITTEN, AS_WRITTEN] and keys[0].digest != keys[1].digest
    assert fragment_key(fragments[0], EXACT).digest == keys[0].digest
