"""One step of a run made again, and its batch looked at example by example.

step_replay     from the run's config to the weights and the batch of the step
step_of_run     what is found of them
shown_examples  the examples as a person sees them: pictures, texts, rows
"""
