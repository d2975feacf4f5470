"""A run, several runs or a comparison as one HTML file that needs nothing else."""
