"""A run's folder: its record, its results, its files."""
