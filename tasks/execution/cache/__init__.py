"""The semantic cache: circuits that mean the same are run once."""
