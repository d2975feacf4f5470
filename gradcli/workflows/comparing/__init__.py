"""What a comparison is made of: the plan of its arms and searches, and the study that runs it."""
