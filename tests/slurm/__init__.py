"""A real SLURM on this machine, for tests: see cluster.py."""
