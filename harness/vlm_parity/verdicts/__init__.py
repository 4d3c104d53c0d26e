"""What the diffs of one case amount to."""
