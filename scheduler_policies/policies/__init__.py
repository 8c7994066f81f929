"""The policies of this room."""
