"""Counts to tensors, tensors to standard errors, errors to shots."""
