"""Failures that are made on purpose, thousands of them, from seeds."""
