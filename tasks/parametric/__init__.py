"""Plans of circuits with free parameters: all that no angle changes is made once, angles come as arrays."""
