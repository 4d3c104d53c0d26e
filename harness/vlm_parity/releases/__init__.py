"""Runs of engine releases, each in an environment of its own that is built on demand and kept."""
