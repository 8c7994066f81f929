"""The machine constants of the cost model, all of them: what is measured again on another machine is changed here."""

from __future__ import annotations

from dataclasses import replace

from scheduler_policies.device import Device, Kind, Speed

# Typical values, for devices whose resources file says nothing about speed. CPU: measured on one 2 GHz core with the
# double-precision simulator (results/benchmarks/planner.md); GPU: what about 2 TB/s of memory bandwidth give, not
# measured; QPU: a superconducting machine with a 250 us repetition delay.
CPU_SPEED = Speed(
    start=0.82, job=6e-3, circuit=2e-4, gate=1e-5, amplitude_gate=4.5e-10, grams=3e-4, amplitude_pass=1.1e-8,
    pair=3.4e-11, entry=6.7e-8, number=5.9e-9, draw=1e-4, place=2.2e-8, shot=2e-8, contraction=2e-11,
)  # fmt: skip
GPU_SPEED = replace(
    CPU_SPEED, job=0.2, circuit=0.02, gate=6e-5, amplitude_gate=2.5e-11, amplitude_pass=5e-10, pair=1e-11
)
QPU_SPEED = Speed(job=2.0, circuit=0.02, shot=2.5e-4, layer=1e-7)
TYPICAL_CPU = Device("cpu", Kind.CPU, speed=CPU_SPEED)

CONTRACTION_FLOPS = 1 / CPU_SPEED.contraction  # operations a second on one core, as a greedy path counts them
JOIN_FRAGMENT_S = 2.5e-4  # of a contraction, for each fragment
JOIN_REFINE_S = 3.0e-3  # where the path is refined, for each fragment: subtrees of eight are searched twice over
JOIN_NUMBER_S = 7.3e-9  # and for each number of the fragments' tensors, read and put in order
JOIN_LEG_S = 2e-9  # and each of these at a cut end that takes the cut's matrix

# Those that follow are fitted to whole runs (results/benchmarks/planner.md, `planner_seconds fit`).
# Beside its work, of a run that is done in one process: the run, a fragment, a number of its tensors, which are stored.
INLINE_RUN_S = 2.1e-5
INLINE_FRAGMENT_S = 2.7e-3
INLINE_NUMBER_S = 2.6e-8
ENGINE_NUMBER_S = 3.5e-8  # of a run that is not: a number of its tensors goes to the process that contracts them
# Of a sampled one, in two rounds of shots: the run, a fragment, its variants that read the same bits, each variant, a
# distinct outcome of one; and each leg of a variant that reads so many bits that it is looked at alone.
ROUNDS_RUN_S = 0.02
ROUNDS_FRAGMENT_S = 0.0026
ROUNDS_GROUP_S = 0.0018
ROUNDS_VARIANT_S = 0.00013
ROUNDS_OUTCOME_S = 1.1e-07
ROUNDS_LEG_S = 0.00098
# What draws take in whole runs, where all of a round's are made together (of `Speed`, in place of a CPU's own).
DRAWN_GATES = 1.6  # times what gates take otherwise
DRAWN_TOGETHER = {"draw": 2e-5, "place": 1.8e-8, "shot": 3.4e-8}
# Of the estimates: the run, a fragment of each term; of sampled ones, with their errors: the run, a fragment, its
# variants that read the same bits, each variant, a distinct outcome, a leg as above.
JOIN_RUN_S = 2.5e-3
JOIN_TERM_S = 9e-6
ERRORS_RUN_S = 0.0053
ERRORS_FRAGMENT_S = 0.00071
ERRORS_GROUP_S = 0.00059
ERRORS_VARIANT_S = 1.6e-06
ERRORS_OUTCOME_S = 2e-07
ERRORS_LEG_S = 0.00028
# In both: what each outcome that a variant can have is worth to a term asked for; all of them counted as so many more.
ERRORS_PLACE_S = 2.3e-08
ERRORS_PLACE_TERMS = 4
ERRORS_PLACE_BITS = 12  # variants with more bits are looked at alone

# Of Paulis in an open state: a turn into another basis, an amplitude and a qubit; a pass, an amplitude and a branch (at
# 16 branches 2 ns); of a pass, an amplitude at least.
TURN_S = 6e-10
PASS_S = 1.3e-10
LEAST_PASS_S = 1e-9

# Qubits whose bits are drawn from one distribution at most; the others follow for the outcomes drawn.
DRAWN_FIRST = 15
# A gate of a plain circuit takes so many times what one of an open-leg simulation takes, whose gates act in blocks.
PLAIN_GATE = 5.3
# Of a matrix product state, fitted to 60 random fragments and judged on others (results/benchmarks/limit.md).
PRODUCT_STEP_S = 3e-6  # of a step
PRODUCT_TURN_S = 3.1e-5  # of a QR of a site
PRODUCT_SPLIT_S = 8.3e-5  # of an SVD of one
PRODUCT_SITE_S = 3.2e-5  # of a site that a factor is contracted with
PAULI_STEP_S = 1.6e-5  # of a gate or leg on Paulis that are followed together
PAULI_ROW_S = 1e-8  # and for each of them
PAULI_JOIN_STEP_S = 9e-5  # of joining equal ones
PAULI_JOIN_S = 1.3e-7  # and for each that may be one
CONE_PART_S = 4.5e-4  # of a part that is simulated by itself
CONE_GATE_S = 2e-5  # and of each of its gates, beside their simulation
COIN_PAIR_S = 3e-7  # of a stabiliser variant, for each pair of bits: one is tried against the other
COIN_S = 1e-8  # of a shot of a stabiliser variant, for each bit
PRODUCT_FLOPS = 2e10  # real operations a second of its decompositions on one core
PRODUCT_GRAM_FLOPS = 5e10  # and of its contractions

AMPLITUDE_BYTES = 16
# A simulation's products take so many amplitudes at a time: half a MiB in, as much out, of a core's cache of one MiB.
PART = 1 << 15
# Entries of Gram matrices that an exact fragment holds at a time, at least one matrix.
GRAM_ENTRIES = 1 << 20
# Those of Paulis in a turned basis are at most this part of the state, or as many as without it.
GRAM_SHARE = 16
# Numbers of the products of blocks of rows that their sums are made of, at least one product.
GRAM_PRODUCTS = 1 << 17
# Branches from which the real and the imaginary part of a block's product with itself are made as their sum.
ADDED_FROM = 16
# Bits of a run of rows that one product sums over: 32 rows are as quick to multiply as more.
RUN_BITS = 5
# Of variants drawn from amplitudes: entries of the distributions that are held at a time (more were no quicker), and
# of what is made of them in the cache; a table of leg entries may take as much as the state, or this.
LAWS = 1 << 21
LAW_PART = 1 << 19
TABLE_BYTES = 1 << 26
JOINT_BITS = 11  # up to here legs and qubits are drawn at once, beyond the qubits first
SHARED = 4  # variants with the same settings on some legs from which these are applied once for all of them
DRAWN_SHOTS = 1000  # of a variant, where nobody says how many
# Where there is a GPU: amplitudes from which a state is simulated there, and floating-point operations from which a
# network is contracted there. Below, starting operations and moving arrays should take longer. Nobody has measured
# these: `qompass calibrate` does, where a GPU is, and what it finds is used instead.
GPU_FROM = 1 << 17
GPU_FLOPS = 1e10
