"""What one emulated device is like: its chip, its noise, its pace and its habits of failing."""

from __future__ import annotations

from dataclasses import dataclass, fields

IBM = "ibm-quantum-compute-service"
IQM = "iqm-server"
SYSTEM = "ibm-quantum-system"
KINDS = {"ibm": IBM, "iqm": IQM, "system": SYSTEM} | {kind: kind for kind in (IBM, IQM, SYSTEM)}


@dataclass(frozen=True)
class DeviceOptions:
    """One device of the emulator.

    Attributes:
        name: resource name; QRMI makes environment variables of it, so letters, digits and ``_`` only.
        kind: QRMI resource type: ``ibm-quantum-compute-service``, ``iqm-server`` or ``ibm-quantum-system``.
        backend: folder name of a fake backend of qiskit-ibm-runtime (``lagos``, ``hanoi``, ``torino``, ...).
        noise: factor on every error rate of that backend; 0 is noiseless.
        readout: further factor on readout errors.
        queue: seconds every job waits before it starts.
        shot: seconds a shot takes.
        overhead: seconds a circuit takes besides its shots.
        fail: probability that a job fails after it started.
        drift: standard deviation of log(error rate), added at every drift step.
        drift_every: seconds between drift steps; 0 is no drift.
        recalibrate: seconds between calibrations (drift is undone, the epoch changes); 0 is never.
        up: seconds the device stays reachable between drop-outs; 0 is always.
        down: seconds a drop-out lasts.
        circuits: most circuits a job may have.
        shots: most shots a circuit may ask for.
        seconds: longest a job may run; longer ones are cancelled by the service. 0 is no limit.
        hold: longest a status call is held back until the job ends (IQM).
        dynamic: whether a qubit can be measured before the end of a circuit.
        lacks: gates the device should have but does not, separated by ``+``.
        token_ttl: seconds an access token lives (IBM).
        price: what a second of QPU time costs, told in the state only.
        seed: of everything random in the device.
    """

    name: str
    kind: str = IBM
    backend: str = "lagos"
    noise: float = 1.0
    readout: float = 1.0
    queue: float = 0.0
    shot: float = 0.0
    overhead: float = 0.0
    fail: float = 0.0
    drift: float = 0.0
    drift_every: float = 0.0
    recalibrate: float = 0.0
    up: float = 0.0
    down: float = 0.0
    circuits: int = 300
    shots: int = 100_000
    seconds: float = 0.0
    hold: float = 30.0
    dynamic: bool = True
    lacks: str = ""
    token_ttl: int = 3600
    price: float = 0.0
    seed: int = 1


def parse_device(text: str) -> DeviceOptions:
    """Read ``NAME[:key=value,...]``, for example ``QPU_A:kind=ibm,backend=lagos,queue=0.2``.

    Raises:
        ValueError: an unknown key, a value of the wrong type, or a name QRMI cannot make a variable of.
    """
    name, _, rest = text.partition(":")
    if not name.replace("_", "").isalnum():
        raise ValueError(f"device name {name!r}: use letters, digits and _ only, QRMI makes variables of it")
    kinds = {field.name: str(field.type) for field in fields(DeviceOptions)}
    values: dict[str, object] = {}
    for pair in filter(None, rest.split(",")):
        key, _, raw = pair.partition("=")
        if key not in kinds or key == "name":
            raise ValueError(f"device {name}: no option {key!r}; there are {', '.join(sorted(kinds))}")
        if key == "kind":
            if raw not in KINDS:
                raise ValueError(f"device {name}: kind {raw!r}; there are ibm, iqm and system")
            values[key] = KINDS[raw]
        elif kinds[key] == "bool":
            values[key] = raw.lower() in {"1", "yes", "true", "on"}
        else:
            try:
                values[key] = {"int": int, "float": float, "str": str}[kinds[key]](raw)
            except ValueError:
                raise ValueError(f"device {name}: {key}={raw!r} is not a number") from None
    return DeviceOptions(name, **values)  # type: ignore[arg-type]
