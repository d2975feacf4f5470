"""Data sets that need no file of the user's and no download, one module each."""
