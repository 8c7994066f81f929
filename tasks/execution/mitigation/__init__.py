"""Error mitigation on QPUs."""
