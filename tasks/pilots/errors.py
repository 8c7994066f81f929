"""What can go wrong with pilots."""

from tasks.errors import QompassError


class PilotError(QompassError):
    """A pilot cannot be started or changed; the text is one line that says what to do."""
