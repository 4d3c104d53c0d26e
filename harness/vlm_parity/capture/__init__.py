"""Engines in child processes: start, feed, watch, collect."""
