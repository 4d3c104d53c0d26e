"""``parity run --cluster``: engine loads as Ray tasks, their shards in one run folder."""
