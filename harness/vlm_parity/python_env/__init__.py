"""TODO python_env."""
