"""LMDeploy with its PyTorch engine."""
