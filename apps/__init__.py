"""The programs a user starts."""
