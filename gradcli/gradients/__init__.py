"""Gradients: their norms, clipping, and what is measured of each layer during training.

    layers       a model's layers and their parameters
    norms        reads the gradients at each step
    clipping     the rules that limit gradients
    buffer       step records on their way to the host
    layer_probe  weights, updates and input gradients, at some steps
    non_finite   finds where a non-finite value appeared first

Import from the modules: reading a run must not import torch.
"""
