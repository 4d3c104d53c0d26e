"""Asks releases of an engine: each in an environment of its own, built on demand and kept."""
