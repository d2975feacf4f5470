"""Runs told to trackers, while they train or afterwards."""
