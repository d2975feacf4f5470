"""Libraries that only some choices need: how they are imported, and what is said without them."""
