"""Fragments on a simulator: the open-leg state, and the tensors and counts that follow from it."""
