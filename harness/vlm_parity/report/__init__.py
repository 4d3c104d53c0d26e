"""What people and programs read: HTML and JSON."""
