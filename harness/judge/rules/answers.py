"""Rules, to come."""
