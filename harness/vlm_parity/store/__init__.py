"""The run store: results of runs in a database, for baselines and trends. Evidence stays in run folders."""
