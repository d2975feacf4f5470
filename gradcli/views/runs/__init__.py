"""The views of stored runs: the table of all, and the difference between two."""
