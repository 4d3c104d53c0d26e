"""Revisions of the store's schema, the number of each in the name of its module."""
