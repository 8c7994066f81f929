"""Where to cut: the searches behind the planner."""
