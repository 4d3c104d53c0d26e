"""TODO lmdeploy."""
