"""The comparison of two traces, one module a stage."""
