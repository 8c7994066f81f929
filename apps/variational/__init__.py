"""Variational programs: the energy of a circuit with parameters, lowered step by step, on circuits cut as needed."""
