"""Gradients: their norms, clipping, what is measured of each layer, and what it means.

    layers         a model's layers and their parameters
    norms          the one place where gradients are read each step
    clipping       the rules that limit them
    buffer         step records on their way to the host
    layer_probe    weights, updates and input gradients, now and then
    faults         where a non-finite value arose
    monitor        a loop that is not ours, watched through hooks
    wrappers       models as such loops wrap them
    loss_scale     the factor of mixed precision in their gradients
    forward_watch  their last forward pass, to repeat it
    diagnosis      from numbers to findings; needs no torch

Import from the modules: whoever reads runs must not wait for torch.
"""
