"""Native transformers: the reference."""
