"""What is made of the calls that one forward pass was seen to make."""

import math
from collections import Counter

import pytest
import torch
from torch import nn

from gradcli.gradients.forward_call import ForwardCall, count_per_pass, cut_off, has_single_path
from gradcli.gradients.loss_graph import mark, mark_call


def test_nothing_is_known_of_a_forward_pass_at_first():
    call = ForwardCall()
    assert (call.inputs, call.outputs, call.rows, call.returns) == (None, None, 1, 0)
    assert all(map(math.isnan, call.output_sums))
    assert not (call.order or call.calls or call.graphed or call.without_gradients)


@pytest.mark.parametrize(
    ("returns", "calls", "expected"),
    [
        (6, {0: 3, 1: 3}, {0: 1, 1: 1}),
        (9, {0: 3, 1: 6}, {0: 1, 1: 2}),
        (5, {0: 2, 1: 3}, {0: 2, 1: 3}),
        (3, {0: 1, 1: 2}, {0: 1, 1: 2}),
        (0, {0: 3, 1: 3}, {0: 3, 1: 3}),  # within the model, which calls its layers three times
        (1, {}, {}),
    ],
)
def test_passes_of_a_loop_that_calls_the_layers_are_counted_as_one(returns, calls, expected):
    call = ForwardCall(calls=calls, returns=returns)
    count_per_pass(call)
    assert call.calls == expected


def chain():
    """A loss of two layers, and the results of both."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 2)
    inner = first(torch.ones(1, 3))
    outer = second(inner.tanh())
    mark(inner.grad_fn, 0)
    mark(outer.grad_fn, 1)
    return outer.sum().grad_fn


@pytest.mark.parametrize(
    ("calls", "without_gradients", "expected"),
    [
        ({0: 1, 1: 1}, False, True),
        ({0: 1, 1: 2}, False, False),
        ({0: 2, 1: 1}, True, False),
        ({0: 1, 1: 1}, True, None),
        ({}, False, None),
    ],
)
def test_layers_called_once_each_have_one_path(calls, without_gradients, expected):
    call = ForwardCall(order=[0, 1], calls=calls, without_gradients=without_gradients)
    assert has_single_path(chain(), call) is expected


def test_a_loss_without_a_graph_tells_no_path():
    assert has_single_path(None, ForwardCall(order=[0], calls={0: 1})) is None


def test_layers_beside_each_other_have_no_single_path():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    one, other = first(torch.ones(1, 3)), second(torch.ones(1, 3))
    mark(one.grad_fn, 0)
    mark(other.grad_fn, 1)
    call = ForwardCall(order=[0, 1], calls={0: 1, 1: 1})
    assert has_single_path((one * other).sum().grad_fn, call) is False


def called(times, number=4):
    """The results of a layer (of index 2) called so many times in a forward pass, and its call."""
    layer = nn.Linear(3, 3)
    results = [layer(torch.ones(1, 3)) for _ in range(times)]
    for nth, result in enumerate(results, start=1):
        mark_call(result.grad_fn, (number, 2, nth))
    return results, ForwardCall(graphed=Counter({2: times}))


@pytest.mark.parametrize(
    ("times", "used", "expected"),
    [
        (3, 1, ((2, 1, 3),)),
        (3, 2, ((2, 2, 3),)),
        (3, 3, ()),
        (2, 1, ((2, 1, 2),)),
        (1, 1, ()),
        (3, 0, ()),
    ],
)
def test_a_layer_is_cut_off_if_the_loss_depends_on_some_of_its_calls_only(times, used, expected):
    results, call = called(times)
    loss = sum((result.sum() for result in results[:used]), torch.ones(1, requires_grad=True) * 2)
    assert cut_off(loss.grad_fn, 4, call) == expected


def test_calls_of_another_forward_pass_do_not_count():
    results, call = called(3)
    assert cut_off(results[0].sum().grad_fn, 5, call) == ()


def test_nothing_is_cut_off_if_the_loss_has_no_graph():
    assert cut_off(None, 0, ForwardCall(graphed=Counter({2: 3}))) == ()
