"""Rules that explain the first difference of two traces."""
