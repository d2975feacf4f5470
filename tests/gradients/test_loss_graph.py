"""What the graph of a loss tells, on graphs small enough to be read by eye."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.gradients import loss_graph
from gradcli.gradients.loss_graph import (
    broadcast_to,
    calls_reached,
    is_single_path,
    loss_path,
    mark,
    mark_call,
    mark_output,
    own_functions,
)


def leaf(*shape):
    return torch.ones(shape, requires_grad=True)


# The path.


def test_the_path_says_where_the_output_is():
    output = torch.tanh(leaf(4, 3) * 2)
    mark_output(output.grad_fn)
    loss = (output.exp() + 1).mean()
    assert loss_path(loss.grad_fn) == (("Mean", "Add", "Exp", "Tanh", "Mul"), 3)


def test_a_loss_that_is_the_output_has_nothing_before_it():
    output = leaf(3).mean()
    mark_output(output.grad_fn)
    assert loss_path(output.grad_fn) == (("Mean",), 0)


def test_the_output_nearest_to_the_loss_counts():
    inner = leaf(3).exp()
    mark_output(inner.grad_fn)
    outer = inner.tanh()
    mark_output(outer.grad_fn)
    assert loss_path(outer.sum().grad_fn) == (("Sum", "Tanh", "Exp"), 1)
    assert loss_path(outer.grad_fn) == (("Tanh", "Exp"), 0)


def test_an_output_that_is_not_on_the_way_has_no_place():
    assert loss_path(leaf(3).exp().sum().grad_fn) == (("Sum", "Exp"), -1)
    assert loss_path(None) == ((), -1)


def test_the_path_ends_where_it_forks():
    inner = leaf(3).exp()
    loss = (inner.tanh() + inner.sigmoid()).sum()
    assert loss_path(loss.grad_fn)[0] == ("Sum", "Add")


def test_views_and_parameters_are_left_out_of_the_path():
    values = leaf(4, 3).tanh().view(2, 6).t()[None].squeeze(0).double().clone().float()
    assert loss_path((values * leaf(1)).sum().grad_fn)[0] == ("Sum", "Mul", "Tanh")


@pytest.mark.parametrize("longer", [0, 1, 20])
def test_a_path_is_followed_for_so_many_operations(longer):
    limit = loss_graph._LONGEST_PATH
    value = leaf(3)
    for _ in range(limit + longer - 1):
        value = value.sin()
    assert loss_path(value.sum().grad_fn)[0] == ("Sum", *["Sin"] * (limit - 1))


# Rows that are compared with every target.


def output_of(*shape):
    output = leaf(*shape).tanh()
    mark_output(output.grad_fn)
    return output


@pytest.mark.parametrize(
    "loss_of",
    [
        F.mse_loss,
        F.l1_loss,
        F.smooth_l1_loss,
        F.huber_loss,
        lambda y, t: (y - t).square().mean(),
        lambda y, t: (t - y).abs().mean(),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_one_column_minus_a_row_of_targets_is_a_square(loss_of):
    assert broadcast_to(loss_of(output_of(5, 1), torch.zeros(5)).grad_fn) == (5, 5)
    assert broadcast_to(loss_of(output_of(5, 1), torch.zeros(5, 1)).grad_fn) == ()
    assert broadcast_to(loss_of(output_of(5), torch.zeros(5)).grad_fn) == ()


@pytest.mark.parametrize(
    ("shape", "targets", "found"),
    [
        ((2, 1), (2,), (2, 2)),
        ((1, 1), (1,), ()),  # one row has one target
        ((5, 5), (5,), ()),  # there are five columns already
        ((5, 1), (3,), ()),
        ((5, 1), (1,), ()),
    ],
)
def test_only_as_many_targets_as_rows_of_one_column_are_paired(shape, targets, found):
    loss = (output_of(*shape) - torch.zeros(targets)).square().mean()
    assert broadcast_to(loss.grad_fn) == found


def test_a_comparison_is_needed():
    assert broadcast_to((output_of(5, 1) * torch.ones(5)).mean().grad_fn) == ()


def test_a_matrix_product_is_no_pairing():
    square = output_of(5, 1) @ torch.ones(1, 5)
    assert broadcast_to((square - torch.ones(5, 5)).square().mean().grad_fn) == ()


def test_an_output_that_is_not_met_tells_nothing():
    assert broadcast_to(None) == ()
    assert broadcast_to((leaf(5, 1).tanh() - torch.zeros(5)).mean().grad_fn) == ()
    both = output_of(5, 1)
    forked = (both - torch.zeros(5)) * (both - torch.ones(5))
    assert broadcast_to(forked.mean().grad_fn) == ()


def test_the_way_to_the_output_is_followed_through_trained_factors():
    loss = (leaf(1) * (output_of(5, 1) - torch.zeros(5))).mean()
    assert broadcast_to(loss.grad_fn) == (5, 5)


def test_the_way_to_the_output_is_followed_for_so_many_operations():
    def found(between):
        value = output_of(5, 1) - torch.zeros(5)
        for _ in range(between):
            value = value.sin()
        return broadcast_to(value.grad_fn)

    # With the difference there are as many operations between loss and output as are allowed less
    # one; then one too many.
    assert found(loss_graph._LONGEST_PATH - 2) == (5, 5)
    assert found(loss_graph._LONGEST_PATH - 1) == ()


# Calls.


def test_calls_on_a_way_from_the_loss_are_counted_by_layer():
    results = [leaf(3).exp() for _ in range(5)]
    calls = [(0, 7, 1), (0, 7, 2), (0, 8, 1), (1, 7, 1), (0, 7, 3)]
    for result, call in zip(results, calls, strict=True):
        mark_call(result.grad_fn, call)
    loss = sum(result.sum() for result in results[:4])
    assert calls_reached(loss.grad_fn, 0) == {7: 2, 8: 1}
    assert calls_reached(loss.grad_fn, 1) == {7: 1}
    assert calls_reached(loss.grad_fn, 2) == {}
    assert calls_reached(None, 0) == {}


def test_one_node_may_be_the_result_of_several_calls():
    result = leaf(3).exp()
    mark_call(result.grad_fn, (0, 1, 1))
    mark_call(result.grad_fn, (0, 2, 1))
    assert calls_reached(result.sum().grad_fn, 0) == {1: 1, 2: 1}


def test_results_without_a_graph_can_be_marked():
    mark(None, 0)
    mark_call(None, (0, 0, 1))
    mark_output(None)


# One path.


def layer(values, index):
    result = values.exp()
    mark(result.grad_fn, index)
    return result


def chain(values):
    return layer(layer(layer(values, 0), 1), 2)


def used_twice(values):
    inner = layer(values, 0)
    return layer(inner * inner.sigmoid() + inner, 1)


def residual(values):
    inner = layer(values, 0)
    return layer(inner + layer(inner, 1), 2)


def parallel(values):
    return layer(values, 0) * layer(values, 1)


def two_passes(values):
    return chain(values) + chain(values).square()


def first_aside(values):
    return layer(values, 1) + layer(layer(values, 0).tanh(), 2)


@pytest.mark.parametrize(
    ("forward", "order", "expected"),
    [
        (chain, (0, 1, 2), True),
        (used_twice, (0, 1), True),
        (residual, (0, 1, 2), False),
        (residual, (0, 2), True),
        (parallel, (0, 1), False),
        (two_passes, (0, 1, 2), True),
        (first_aside, (0, 1, 2), False),
        (chain, (0, 1, 2, 3), True),  # layer 3 has no gradient
        (chain, (3,), None),
        (chain, (), None),
    ],
)
def test_whether_all_ways_to_the_first_layer_pass_the_others(forward, order, expected):
    assert is_single_path(forward(leaf(3)).sum().grad_fn, order) is expected


def test_no_graph_has_no_path():
    assert is_single_path(None, (0,)) is None


@pytest.mark.parametrize("depth", [3, 70])
def test_ways_may_be_more_than_a_number_holds(depth):
    """Each sum of a value with itself doubles the ways: 2^70 are beyond the prime."""
    value = layer(leaf(3), 0)
    for _ in range(depth):
        value = value.sin() + value.cos()
    assert is_single_path(layer(value, 1).sum().grad_fn, (0, 1)) is True
    beside = layer(value, 1) + value
    assert is_single_path(beside.sum().grad_fn, (0, 1)) is False


def test_graphs_that_are_too_large_are_not_searched(monkeypatch):
    value = layer(leaf(3), 0)
    value = layer(value.sin().sin(), 1).sum()
    nodes = 6  # the sum, the layers, two sines, and what adds to the leaf
    monkeypatch.setattr(loss_graph, "_LARGEST_GRAPH", nodes)
    assert is_single_path(value.grad_fn, (0, 1)) is True
    monkeypatch.setattr(loss_graph, "_LARGEST_GRAPH", nodes - 1)
    assert is_single_path(value.grad_fn, (0, 1)) is None
    assert calls_reached(value.grad_fn, 0) == {}
    assert own_functions(value.grad_fn) == ()


# Backward passes by hand.


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(context, values):
        return 2 * values

    @staticmethod
    def backward(context, gradient):
        return 2 * gradient


class Halved(Doubled):
    pass


class LikeTorchs(Doubled):
    pass


LikeTorchs.__module__ = "torch.nn.functional"


def test_functions_of_the_users_are_named_with_the_layer_that_they_work_on():
    inner = layer(leaf(3), 4)
    loss = Halved.apply(Doubled.apply(inner).sin()).sum()
    assert own_functions(loss.grad_fn) == (("Halved", 4), ("Doubled", 4))


def test_the_nearest_layer_is_the_first_in_breadth():
    far = layer(leaf(3), 1).sin().sin()
    near = layer(leaf(3), 5)
    assert own_functions(Doubled.apply(far + near).grad_fn) == (("Doubled", 5),)


def test_of_two_layers_with_one_result_the_first_is_named():
    inner = layer(leaf(3), 6)
    mark(inner.grad_fn, 2)
    assert own_functions(Doubled.apply(inner).grad_fn) == (("Doubled", 2),)


def test_a_function_before_all_layers_has_none():
    assert own_functions(layer(Doubled.apply(leaf(3)), 0).sum().grad_fn) == (("Doubled", -1),)


def test_a_function_used_twice_on_one_layer_is_named_once():
    inner = layer(leaf(3), 0)
    loss = (Doubled.apply(inner) + Doubled.apply(inner)).sum()
    assert own_functions(loss.grad_fn) == (("Doubled", 0),)


def test_functions_of_torch_and_losses_without_a_graph_are_left_out():
    assert own_functions(LikeTorchs.apply(leaf(3)).grad_fn) == ()
    assert own_functions(nn.Linear(3, 1)(leaf(3)).grad_fn) == ()
    assert own_functions(None) == ()


def test_ways_are_counted_modulo_a_prime():
    prime = loss_graph._PRIME
    assert all(prime % number for number in (2, 3, 5, 7, 11, 13)) and math.log2(prime) > 60
