"""What the user gives becomes a validated problem, or one clear line."""
