"""Execution motifs: small programs by which a machine and its engines are characterised."""
