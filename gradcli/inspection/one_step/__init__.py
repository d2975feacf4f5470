"""One step of a run under the lens: the examples of its batch, and what they did to the gradient.

step_inspection  everything that is shown, as plain values
suspicion        what an example looks like: mislabelled, saturated, huge, or nothing that tells
neighbours       how the step compares with those before it
"""
