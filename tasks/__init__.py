"""From a problem to its estimates: the tasks and what they are made of."""
