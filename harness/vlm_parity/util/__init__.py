"""TODO util."""
