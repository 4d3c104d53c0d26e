"""TODO legacy."""
