"""Drift: differences between the references of two environments."""
