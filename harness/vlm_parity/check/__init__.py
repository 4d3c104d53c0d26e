"""``parity check``: one checkpoint against every engine that can be had here, in one command."""
