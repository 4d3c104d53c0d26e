"""TODO diagnosis."""
