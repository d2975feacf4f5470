"""Which backward passes count, at the level of single parameters."""

import torch
from torch import nn

from gradcli.gradients.backward_log import BackwardLog, Hook


def backward(parameter, factor=1.0):
    (factor * parameter).sum().backward()


def test_whether_anything_was_added_and_whether_earlier_gradients_are_in_it():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    assert (log.added, log.kept) == (False, False)
    backward(parameter)
    backward(parameter)
    assert (log.added, log.kept) == (True, False)
    log.restart()
    backward(parameter)
    assert (log.added, log.kept) == (True, True)
    parameter.grad = None
    backward(parameter)
    assert (log.added, log.kept) == (True, False)
    log.restart()
    parameter.grad.zero_()
    backward(parameter)
    assert (log.added, log.kept) == (True, False)


def test_only_what_was_noted_since_the_last_clearing_counts():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    for name in ("first", "second", "third", "fourth"):
        inner = 2 * parameter
        inner.register_hook(lambda _, name=name: log.note(name, 1.0))
        if name == "third":
            parameter.grad = None
        if name == "fourth":
            torch.autograd.grad(inner.sum(), parameter)  # adds to nothing
        else:
            inner.sum().backward()
    assert log.counted() == [("third", 1.0)]


def test_removing_leaves_no_trace_and_the_hooks_of_others():
    parameter, log, seen = nn.Parameter(torch.ones(3)), BackwardLog(), []
    log.attach([parameter])
    handle = parameter.register_hook(seen.append)
    log.detach()
    backward(parameter)
    assert (len(seen), log.added) == (1, False)
    handle.remove()
    log.attach([parameter])
    log.detach()
    assert not parameter._backward_hooks
    assert parameter._backward_hooks is parameter._post_accumulate_grad_hooks is None
    parameter.register_hook(seen.append)
    backward(parameter)
    assert len(seen) == 2


def test_frozen_parameters_and_those_that_are_results_are_left_alone():
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    result = nn.Parameter(torch.ones(3)) * 2
    log = BackwardLog()
    log.attach([frozen, result])
    result.sum().backward()
    assert not log.added


def test_a_hook_never_fails():
    def fail(*_):
        raise ValueError

    inputs = torch.ones(3, requires_grad=True)
    inputs.register_hook(Hook(fail))
    inputs.sum().backward()
    assert torch.equal(inputs.grad, torch.ones(3))
