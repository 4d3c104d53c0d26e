"""vLLM before 0.31; one module for each older form of its interface."""
