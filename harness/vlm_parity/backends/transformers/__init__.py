"""TODO transformers."""
