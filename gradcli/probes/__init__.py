"""The costly probes: what is looked at now and then, never at every step.

    names          which ones there are, and what each costs
    untouched      leaves the model and every random state as they were
    batch_loss     one batch's loss as a function of the parameters alone
    slope          how many decades a norm changes by from layer to layer
    elementwise    activation modules and their derivatives
    activations    every layer's signal going forward and gradient coming back
    histograms     the gradients' signs and orders of magnitude
    cosine         whether consecutive gradients point the same way
    per_example    one gradient an example, in chunks
    noise          from those: noise scale, GSNR, norm test, inner-product test
    sharpness      extreme eigenvalues of the Hessian
    stability      the largest curvature with which an optimizer is stable
    alpha          where a step ended on the parabola along it
    descent        the loss along the negative gradient
    hidden_states  the loss's gradient through time, in recurrent modules
    check          autograd against finite differences

A probe is a function of a model and a batch that returns plain numbers. The loss is the mean
cross-entropy, and the model is probed in the mode that it is in. No probe touches parameters,
buffers, `.grad` or a random state.

Import from the modules: each loads what it alone needs.
"""
