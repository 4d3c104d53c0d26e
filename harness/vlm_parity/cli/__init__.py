"""The command line: argument parsers, and dispatch to the functions that do the work."""
