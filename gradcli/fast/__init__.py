"""Faster ways to the same bits: everything that looks beneath the public names of PyTorch.

passes             both passes of a chain of linear layers, written out
update             the optimizer step by the fastest way that gives the same result
functional_update  an update whose tensors are looked up once
without_dynamo     optimizers that do not import the compiler
threads            how many CPU threads a training is worth
"""
