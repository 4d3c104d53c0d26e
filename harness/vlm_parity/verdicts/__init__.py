"""Conclusions from the diffs of a case: verdicts and known issues."""
