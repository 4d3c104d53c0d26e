"""``parity check``: one checkpoint in every installed engine, with one command."""
