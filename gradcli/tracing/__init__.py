"""Finding the first non-finite value: a step's passes run again, and what made it."""
