"""Comparison of two traces at one stage, one module per stage."""
