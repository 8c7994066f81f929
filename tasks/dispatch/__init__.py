"""Which job runs where, and what happens when it fails."""
