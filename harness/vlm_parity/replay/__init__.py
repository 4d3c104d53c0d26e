"""Replays of past bugs, in releases that have them and in releases that fixed them."""
