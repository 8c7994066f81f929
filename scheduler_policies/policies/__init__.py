"""The policies: a file here is one, its function has the file's name and is found by it."""
