"""The stages of a run as steps of their own: several processes, on any nodes, share a run's folder."""

from tasks.stages.batches import Batch
from tasks.stages.stages import Standing, execute_stage, plan_stage, reconstruct_stage, standing_of

__all__ = ["Batch", "Standing", "execute_stage", "plan_stage", "reconstruct_stage", "standing_of"]
