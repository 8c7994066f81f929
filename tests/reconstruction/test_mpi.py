"""The SPMD program under a real mpirun: same bits for any number of ranks, and an end with a reason for every fault."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tasks.model.tensor import SampledData
from tasks.reconstruction import contract, estimate_values, estimate_with_shares
from tasks.reconstruction.contraction.network import network_of
from tasks.reconstruction.contraction.network_files import read_network, write_network
from tasks.reconstruction.contraction.schedule import schedule, unit_work
from tasks.reconstruction.contraction.sharing import share_out, share_units, slowest
from tasks.reconstruction.errors import SpillError
from tasks.reconstruction.mpi import run_rank
from tests.reconstruction.networks import exact_tensors, random_structure
from tests.reconstruction.test_statistics import draw, sampled_problem

ROOT = Path(__file__).resolve().parents[2]
MPIRUN = Path(sys.executable).parent / "mpirun"
needs_mpi = pytest.mark.uses("MPI")


def start(folder: Path, ranks: int, *more: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [str(MPIRUN), "-n", str(ranks), sys.executable, "-m", "tasks.reconstruction.mpi", str(folder), *more]
    return subprocess.Popen(program, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def grid(rng: np.random.Generator, columns: int = 5, rows: int = 5):
    edges = [(columns * r + c, columns * r + c + 1) for r in range(rows) for c in range(columns - 1)]
    edges += [(columns * r + c, columns * r + c + columns) for r in range(rows - 1) for c in range(columns)]
    return random_structure(edges, rows * columns, rng, factors=3, terms=30, observables=9)


@needs_mpi
def test_one_two_and_four_ranks_agree_to_the_last_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    structure = grid(rng)
    tensors = exact_tensors(structure, rng)
    write_network(tmp_path, structure, tensors)
    found = []
    for ranks in (1, 2, 4):
        job = start(tmp_path, ranks)
        assert job.wait(timeout=100) == 0, job.stderr.read()
        found.append(np.load(tmp_path / "values.npy"))
        (tmp_path / "values.npy").unlink()
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    expected = contract(structure, tensors)
    np.testing.assert_allclose(found[0], expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@needs_mpi
def test_error_bars_do_not_depend_on_the_ranks_either(tmp_path: Path) -> None:
    problem = sampled_problem(1)
    tensors = draw(*problem, np.random.default_rng(2), 300)
    write_network(tmp_path, problem[0], tensors)
    expected = estimate_with_shares(problem[0], tensors)
    found = []
    for ranks in (1, 3):
        job = start(tmp_path, ranks)
        assert job.wait(timeout=100) == 0, job.stderr.read()
        found.append([np.load(tmp_path / f"{name}.npy") for name in ("values", "std_errors", "shares")])
    for one, other, own in zip(*found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, own, rtol=1e-9, atol=1e-12)
    assert (found[0][2] > 0).sum() > 1, "more than one fragment's shots bring the variance"


@needs_mpi
def test_a_killed_rank_ends_the_job(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    structure = grid(rng, 7, 7)
    write_network(tmp_path, structure, exact_tensors(structure, rng))
    job = start(tmp_path, 2)
    victim = None
    deadline = time.monotonic() + 30
    while victim is None and time.monotonic() < deadline:
        victim = next(iter(ranks_below(job.pid)), None)
        time.sleep(0.05)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    assert job.wait(timeout=60) != 0
    assert not (tmp_path / "values.npy").exists()


def ranks_below(pid: int) -> list[int]:
    """Process ids of the Python ranks below an mpirun."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            waiting.append(child)
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"tasks.reconstruction.mpi" in words and b"python" in words[0]:
                found.append(child)
    return found


@needs_mpi
def test_a_limit_that_is_too_small_is_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    structure = grid(rng, 3, 3)
    write_network(tmp_path, structure, exact_tensors(structure, rng))
    job = start(tmp_path, 2, "--memory", "1000")
    _, said = job.communicate(timeout=100)
    assert job.returncode != 0
    assert "reconstruction failed: Contracting 9 fragments does not fit 1,000 bytes" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("mitigated", [False, True])
def test_a_network_comes_back_from_disk_as_it_was(tmp_path: Path, mitigated: bool) -> None:
    problem = sampled_problem(2)
    tensors = draw(*problem, np.random.default_rng(5), 100)
    if mitigated:
        tensors = [replace(own, samples=own.samples and with_mitigation(own.samples)) for own in tensors]
    write_network(tmp_path, problem[0], tensors)
    structure, again = read_network(tmp_path)
    np.testing.assert_array_equal(estimate_values(structure, again), estimate_values(problem[0], tensors))
    for one, other in zip(again, tensors, strict=True):
        assert (one.samples is None) == (other.samples is None)
        for found, given in zip(
            one.samples.variants if one.samples else (), other.samples.variants if other.samples else (), strict=True
        ):
            assert (found.settings, found.leg_bits, found.half) == (given.settings, given.leg_bits, given.half)
            for name in ("outcomes", "counts", "readings", "weights"):
                np.testing.assert_array_equal(getattr(found.counts, name), getattr(given.counts, name))


def with_mitigation(samples: SampledData) -> SampledData:
    """Every third variant read with errors mitigated, every fourth extrapolated."""
    variants = []
    for k, variant in enumerate(samples.variants):
        counts = variant.counts
        if k % 3 == 1:
            counts = replace(counts, readings=np.array([[1.1 + k, -0.9]] * counts.num_bits))
        if k % 4 == 1:
            counts = replace(counts, weights=np.full(len(counts.counts), 1.5))
        variants.append(replace(variant, counts=counts, half=k % 2))
    return SampledData(samples.legs, tuple(variants))


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    rng = np.random.default_rng(6)
    structure = random_structure([(0, 1)], 2, rng)
    (tmp_path / "values-1.npy").symlink_to("/dev/full")
    with pytest.raises(SpillError, match=r"values-1.npy .* failed \(No space left on device\)"):
        write_network(tmp_path, structure, exact_tensors(structure, rng))


def test_a_damaged_network_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    structure = random_structure([(0, 1)], 2, rng)
    write_network(tmp_path, structure, exact_tensors(structure, rng))
    (tmp_path / "bond-0.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(SpillError, match="cannot be read"):
        run_rank(tmp_path)


def test_work_is_dealt_evenly() -> None:
    costs = [5.0, 1.0, 1.0, 1.0, 4.0, 4.0]
    shares = share_out(costs, 2)
    assert sorted(piece for share in shares for piece in share) == list(range(6))
    assert {sum(costs[piece] for piece in share) for share in shares} == {8.0}


def test_every_unit_has_its_price() -> None:
    """Blocks without slices are work too: dealt at no price they would all go to one rank."""
    rng = np.random.default_rng(8)
    structure = grid(rng)
    plan = schedule(structure, network_of(structure), ranks=4)
    once, each = unit_work(plan)
    assert plan.cost.units > 1
    assert all(common + one > 0 for common, one in zip(once, each, strict=True))
    np.testing.assert_allclose(2 * (sum(once) + sum(each) * len(plan.slices)), plan.cost.flops, rtol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("once", "each", "slices"), [([8.0, 1.0], [0.5, 2.0], 16), ([3.0, 2.0, 2.0, 1.0], [0.0] * 4, 1)]
)
def test_every_slice_of_every_block_has_one_owner(once, each, slices: int, ranks: int) -> None:
    shares = share_units(once, each, slices, ranks)
    dealt = sorted((block, number) for share in shares for block, a, b in share for number in range(a, b))
    assert dealt == [(block, number) for block in range(len(once)) for number in range(slices)]
    total = sum(once) + slices * sum(each)
    assert total / ranks <= slowest(shares, once, each) <= total


def test_what_slices_share_is_not_done_by_every_rank() -> None:
    """Two blocks whose slices cost next to nothing: each rank takes a block, none takes half of both."""
    shares = share_units([10.0, 10.0], [0.1, 0.1], 16, 2)
    assert shares == [[(0, 0, 16)], [(1, 0, 16)]]
