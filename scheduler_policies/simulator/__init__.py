"""The judge of the policies: a simulated pool of devices."""
