"""The ``qompass`` command."""
