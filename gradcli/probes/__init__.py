"""The costly probes: run now and then, never at every step. One file per probe.

    probe          what a probe is: the descriptor that each file ends with
    registry       which probes there are, and how to add one
    signals        every layer's signal going forward and gradient coming back
    histograms     the gradients' signs and orders of magnitude
    noise          how much the examples' gradients disagree
    sharpness      the largest curvature, against the optimizer's stability threshold
    descent        the loss along the negative gradient
    hidden_states  the gradient through time, in recurrent modules
    cosine         whether consecutive gradients point the same way
    alpha          where a step ends on the parabola along it
    check          autograd against finite differences
    measuring/     the arithmetic that they share, and the longer computations

A probe that ships is a file here and a name in `registry.SHIPPED`. A user's own probe is
a file anywhere: its package has a tuple `PROBES`, and `--allow-import PACKAGE` registers them.
"""
