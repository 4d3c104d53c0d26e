"""Deterministic pictures and videos, and those read from files."""
