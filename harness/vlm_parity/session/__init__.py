"""Sessions: from a plan to verdicts, by way of references, engine runs and a written shard."""
