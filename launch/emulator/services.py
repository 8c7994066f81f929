"""Which interfaces the emulator has, each below a path of its own. A new one is a file and a line here."""

from __future__ import annotations

from launch.emulator.ibm import IbmService
from launch.emulator.ibm_system import SystemService
from launch.emulator.iqm import IqmService
from launch.emulator.options import DeviceOptions

SERVICES: dict[str, type[IbmService] | type[IqmService] | type[SystemService]] = {
    "ibm": IbmService,
    "iqm": IqmService,
    "system": SystemService,
}


def environment(device: DeviceOptions, url: str, token: str) -> dict[str, str]:
    """The variables QRMI wants for a device, without its name in front, as qrmi_config.json holds them.

    Args:
        device: the device.
        url: of the emulator.
        token: that it takes.
    """
    ((path, service),) = [(path, one) for path, one in SERVICES.items() if one.kind == device.kind]
    return service.environment(device, f"{url}/{path}", token)
