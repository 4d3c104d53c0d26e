"""Tokenizers and weights of synthetic checkpoints."""
