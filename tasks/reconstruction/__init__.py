"""Fragment tensors to estimates: contraction of their network, and its statistics."""

from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.errors import ReconstructionError
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tasks.reconstruction.statistics.statistics import estimate_values, estimate_with_shares, variances

__all__ = ["ReconstructionError", "contract", "estimate_values", "estimate_with_shares", "tensor_values", "variances"]
