"""Fingerprints of what a step is computed of: weights, and what layers are given and return."""
