"""Repair of Python environments in which pip installed packages that cannot be imported."""
