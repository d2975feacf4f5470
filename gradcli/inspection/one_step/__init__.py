"""One step of a run under the lens: the examples of its batch, and what they did to the gradient.

step_inspection  everything that is shown, as plain values
suspicion        what an example looks like: mislabelled, saturated, noise, or nothing that tells
known_examples   the training data that it is compared with, and what is usual there
neighbours       how the step compares with those before it
"""
