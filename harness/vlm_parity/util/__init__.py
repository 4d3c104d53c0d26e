"""Helpers that know nothing of models, engines or pytest, and import nothing else of the harness."""
