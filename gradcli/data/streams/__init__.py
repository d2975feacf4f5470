"""Splits that are read batch by batch, because they do not fit into memory."""
