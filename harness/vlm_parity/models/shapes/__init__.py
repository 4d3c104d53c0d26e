"""Shapes of checkpoints: synthetic ones with the chat templates of other released layouts."""
