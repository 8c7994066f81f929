"""The data that passes between rooms: problem, tensor, estimate, progress."""
