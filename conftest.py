"""Turns the plug-in on where the harness is run from a clone that is not installed."""

pytest_plugins = ["harness.plugin"]
