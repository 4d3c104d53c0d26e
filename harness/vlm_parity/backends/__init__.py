"""TODO backends."""
