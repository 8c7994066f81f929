"""Devices, what they take and cost, and the policies that decide which device runs which fragment."""

from scheduler_policies.cheapest import cheapest_devices
from scheduler_policies.cost import (
    circuit_fidelity,
    exact_seconds,
    expected_fidelity,
    variant_seconds,
    why_not,
    work_price,
    work_seconds,
)
from scheduler_policies.device import (
    Device,
    DeviceLimits,
    DeviceState,
    GateRate,
    Kind,
    Price,
    Speed,
    Work,
)
from scheduler_policies.errors import NoDeviceError, PolicyError, UnknownPolicyError
from scheduler_policies.health import Rules, after_failure, after_success, at, why_leave
from scheduler_policies.machine import CPU_SPEED, GPU_SPEED, QPU_SPEED
from scheduler_policies.place import Spent, beyond, place
from scheduler_policies.placement import Candidate, Decision, Goal, Placement, Policy, evaluate, fitting, usual_bound
from scheduler_policies.registry import DEFAULT_POLICY, POLICIES, POLICY_GROUP, find_policy

__all__ = [
    "CPU_SPEED",
    "DEFAULT_POLICY",
    "GPU_SPEED",
    "POLICIES",
    "POLICY_GROUP",
    "QPU_SPEED",
    "Candidate",
    "Decision",
    "Device",
    "DeviceLimits",
    "DeviceState",
    "GateRate",
    "Goal",
    "Kind",
    "NoDeviceError",
    "Placement",
    "Policy",
    "PolicyError",
    "Price",
    "Rules",
    "Speed",
    "Spent",
    "UnknownPolicyError",
    "Work",
    "after_failure",
    "after_success",
    "at",
    "beyond",
    "cheapest_devices",
    "circuit_fidelity",
    "evaluate",
    "exact_seconds",
    "expected_fidelity",
    "find_policy",
    "fitting",
    "place",
    "usual_bound",
    "variant_seconds",
    "why_leave",
    "why_not",
    "work_price",
    "work_seconds",
]
