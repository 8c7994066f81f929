"""Bit strings from the reconstructed distribution."""
