"""Where cache entries are kept."""
