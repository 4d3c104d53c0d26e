"""The engines behind one interface, their registry, and the table of supported releases."""
