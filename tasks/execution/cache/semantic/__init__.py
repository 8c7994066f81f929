"""The meaning of a circuit: its rewriting into a canonical form."""
