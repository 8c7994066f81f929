"""The parts of the balanced policy: costs of pieces, list schedules, local search."""
