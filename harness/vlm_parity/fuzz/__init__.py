"""The fuzzer: conversations drawn by Hypothesis, and failing ones shrunk to a minimum."""
