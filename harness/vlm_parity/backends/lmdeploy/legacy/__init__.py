"""LMDeploy before 0.12, at depth ``tokens`` only."""
