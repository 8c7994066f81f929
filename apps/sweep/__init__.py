"""Sweeps: many circuits, observables and parameters in one table, and a tidy table back."""
