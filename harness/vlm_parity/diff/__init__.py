"""Comparison of two traces, stage by stage."""
