"""Traces of engines that run in child processes, and of the reference, which are cached."""
