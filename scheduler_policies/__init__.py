"""Devices, what they take and cost, and the policies that decide which device runs which fragment."""

from scheduler_policies.cost import (
    circuit_fidelity,
    exact_seconds,
    fidelity,
    variant_seconds,
    why_not,
    work_price,
    work_seconds,
)
from scheduler_policies.device import (
    CPU_SPEED,
    GPU_SPEED,
    QPU_SPEED,
    Device,
    DeviceState,
    GateRate,
    Kind,
    Limits,
    Price,
    Speed,
    Work,
)
from scheduler_policies.errors import NoDeviceError, PolicyError, UnknownPolicyError

__all__ = [
    "CPU_SPEED",
    "GPU_SPEED",
    "QPU_SPEED",
    "Device",
    "DeviceState",
    "GateRate",
    "Kind",
    "Limits",
    "NoDeviceError",
    "PolicyError",
    "Price",
    "Speed",
    "UnknownPolicyError",
    "Work",
    "circuit_fidelity",
    "exact_seconds",
    "fidelity",
    "variant_seconds",
    "why_not",
    "work_price",
    "work_seconds",
]
