"""A pilot: an allocation that is held while runs come and go, and share it."""

from tasks.pilots.accounts import PilotStatus
from tasks.pilots.errors import PilotError
from tasks.pilots.pilot import Pilot, pilot_folder
from tasks.pilots.start import grow_pilot, pilot_status, shrink_pilot, start_pilot, stop_pilot

__all__ = [
    "Pilot",
    "PilotError",
    "PilotStatus",
    "grow_pilot",
    "pilot_folder",
    "pilot_status",
    "shrink_pilot",
    "start_pilot",
    "stop_pilot",
]
