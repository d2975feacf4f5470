"""Faster ways to the same bits: the only room that uses private names of PyTorch.

gate               whether they may be taken: proven releases of PyTorch, and a switch
passes             forward and backward pass of a chain of linear layers, written out
update             the optimizer step in the fastest way that gives the same result
functional_update  an update that looks up its tensors once
without_dynamo     optimizers that do not import the compiler
foreach_norm       the norms of many tensors in one call

Every module asks the gate, and falls back on PyTorch's own way. Choosing among public settings,
such as the number of threads, does not belong here.
"""
