"""The pytest plug-in: options, fixtures, and the report at the end of a session."""
