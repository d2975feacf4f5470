"""The arithmetic that probes share, and the longer computations. All but `slope` need torch.

    untouched           leaves the model and every random state as they were
    batch_loss          one batch's loss as a function of the parameters alone
    slope               how many decades a norm changes from layer to layer
    elementwise         activation modules and their derivatives
    per_example         one gradient per example, in chunks
    activations         every layer's signal going forward and gradient coming back
    gradient_noise      noise scale, GSNR, norm test and inner-product test
    hessian             extreme eigenvalues of the Hessian
    stability           the largest curvature at which an optimizer is stable
    through_time        the gradient w.r.t. the hidden states of recurrent modules
    finite_differences  autograd against central differences

These are functions of a model and a batch that return plain numbers. They leave parameters,
buffers, `.grad` and random states as they were, and keep the model in the mode it is in.
"""
