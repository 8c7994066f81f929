"""Fragment tensors to estimates: contraction of their network, and its statistics."""

from tasks.reconstruction.contraction import contract
from tasks.reconstruction.errors import ReconstructionError
from tasks.reconstruction.raw import tensor_values
from tasks.reconstruction.statistics import estimate, variances

__all__ = ["ReconstructionError", "contract", "estimate", "tensor_values", "variances"]
