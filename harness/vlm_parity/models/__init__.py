"""Models: families, and the checkpoints that a test runs with."""
