"""Variants to counts, fragments to tensors."""
