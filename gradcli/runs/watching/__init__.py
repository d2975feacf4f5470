"""Runs that somebody watches while others write them: nothing is locked, and nothing is written.

What did not change is not read again, and memory does not grow with the length of a run.
"""
