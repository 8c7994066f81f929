"""The machine constants of the cost model, all of them: what is measured again on another machine is changed here."""

from __future__ import annotations

from scheduler_policies.device import Device, Kind, Speed

# Typical values, for devices whose resources file says nothing about speed. CPU: measured on one 2 GHz core with the
# double-precision state-vector simulator; GPU: the same code at about 2 TB/s of memory bandwidth, Gram matrices on its
# host; QPU: a superconducting machine with a 250 us repetition delay.
CPU_SPEED = Speed(job=0.015, circuit=0.004, gate=6e-5, draw=2e-4, shot=1e-8, amplitude_gate=4e-9, pair=2e-9)
GPU_SPEED = Speed(job=0.2, circuit=0.02, gate=6e-5, draw=2e-4, shot=1e-8, amplitude_gate=2.5e-11, pair=2e-9)
QPU_SPEED = Speed(job=2.0, circuit=0.02, shot=2.5e-4, layer=1e-7)
TYPICAL_CPU = Device("cpu", Kind.CPU, speed=CPU_SPEED)

CONTRACTION_FLOPS = 1e9  # floating-point operations a second of small contractions on one core

AMPLITUDE_BYTES = 16
# A simulation's products take so many amplitudes at a time: half a MiB in, as much out, of a core's cache of one MiB.
PART = 1 << 15
# Entries of Gram matrices that an exact fragment holds at a time, at least one matrix.
GRAM_ENTRIES = 1 << 20
# Amplitudes from which a state is simulated on a GPU where there is one: below, starting its operations takes longer.
GPU_FROM = 1 << 17
