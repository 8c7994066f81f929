"""Fragment tensors to estimates: contraction of their network, and its statistics."""

from tasks.reconstruction.contraction.contraction import contract
from tasks.reconstruction.errors import ReconstructionError
from tasks.reconstruction.statistics.counts_to_tensor import tensor_values
from tasks.reconstruction.statistics.statistics import estimate_values, variances

__all__ = ["ReconstructionError", "contract", "estimate_values", "tensor_values", "variances"]
