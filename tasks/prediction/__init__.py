"""What a plan will give and take before it runs: standard errors for shots, seconds, money."""

from tasks.prediction.noise_bias import noise_biases
from tasks.prediction.shot_variances import ShotVariances, shot_variances, variances_bytes, variances_seconds
from tasks.prediction.spending import Spending, done_here, greedy_flops, predicted_spending

__all__ = [
    "ShotVariances",
    "Spending",
    "done_here",
    "greedy_flops",
    "noise_biases",
    "predicted_spending",
    "shot_variances",
    "variances_bytes",
    "variances_seconds",
]
