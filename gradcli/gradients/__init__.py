"""Gradients: their norms, clipping, and what is measured of each layer during training.

    layers       a model's layers and their parameters
    norms        reads the gradients at each step
    clipping     the rules that limit gradients
    shards       parameters that several processes have parts of
    sharded_gradients  the norms of their gradients
    buffer       step records on their way to the host
    layer_probe  weights, updates and input gradients, at some steps
    setup_watch  what a training is set up to do, observed in a step
    set_up       what modules and optimizers tell of themselves
    observation  both of them, in one step
    backward_log tells which backward passes made the gradients at hand
    loss_graph   what autograd's graph tells of a loss
    tensors      tensors in what modules take and return

Import from the modules: reading a run must not import torch.
"""
