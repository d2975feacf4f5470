"""Which backward passes count, at the level of single parameters."""

import copy
import io

import pytest
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


def test_a_hook_is_given_what_it_observes():
    inputs, seen = torch.ones(3, requires_grad=True), []
    inputs.register_hook(Hook(lambda gradient: seen.append(gradient.tolist())))
    (2 * inputs).sum().backward()
    assert seen == [[2.0, 2.0, 2.0]]


def test_a_copy_of_a_hook_observes_nothing():
    seen = []
    twin = copy.deepcopy(Hook(seen.append))
    assert type(twin) is Hook
    twin(1)
    assert not seen


def test_a_hook_observes_nothing_in_code_being_compiled(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    Hook(seen.append)(1)
    assert not seen


def test_tensors_with_hooks_can_be_saved():
    parameter = nn.Parameter(torch.ones(3))
    log = BackwardLog()
    log.attach([parameter], {0: parameter})
    torch.save(parameter, io.BytesIO())  # warns of hooks that are not marked, and warnings fail


def test_those_after_a_frozen_parameter_are_watched():
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([frozen, parameter])
    backward(parameter)
    assert log.added


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ([(False, False)], []),
        ([(True, False)], ["a"]),
        ([(True, True)], ["a", "b"]),
        ([(False, True)], ["b"]),
        # The first of several passes decides: later ones find the gradients of the earlier.
        ([(False, False), (True, True)], []),
        ([(True, False), (False, True)], ["a"]),
    ],
)
def test_which_of_the_others_had_a_gradient_when_one_was_first_added(passes, expected):
    others = {"a": nn.Parameter(torch.ones(2)), "b": nn.Parameter(torch.ones(2))}
    log = BackwardLog()
    log.attach([], others)
    for kept in passes:
        for other, has_one in zip(others.values(), kept, strict=True):
            other.grad = torch.ones(2) if has_one else torch.zeros(2)
        (others["a"] * others["b"]).sum().backward()
    assert sorted(log.kept_elsewhere) == expected
    assert not log.added
    log.restart()
    assert not log.kept_elsewhere


def test_others_that_are_frozen_or_results_are_left_alone():
    frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    frozen.grad = torch.ones(3)
    result = nn.Parameter(torch.ones(3)) * 2
    result.retain_grad()
    result.grad = torch.ones(3)
    log = BackwardLog()
    log.attach([], {0: frozen, 1: result})
    result.sum().backward()
    assert not log.kept_elsewhere


def test_the_hooks_on_others_are_removed():
    other, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([], {0: other})
    log.detach()
    other.grad = torch.ones(3)
    backward(other)
    assert not log.kept_elsewhere
    assert other._backward_hooks is None


def note_in_pass(log, parameter, *names, add):
    """Note some names in one backward pass, which adds to the gradient or only returns it."""
    value = parameter
    for name in reversed(names):
        value = 2 * value
        value.register_hook(lambda _, name=name: log.note(name))
    if add:
        value.sum().backward()
    else:
        torch.autograd.grad(value.sum(), parameter)


def test_if_no_pass_adds_to_a_gradient_the_last_one_counts():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    assert log.counted() == []
    note_in_pass(log, parameter, "first", "of the first", add=False)
    note_in_pass(log, parameter, "second", "of the second", add=False)
    assert log.counted() == [("second", 0.0), ("of the second", 0.0)]
    assert not log.added


def test_all_passes_of_an_accumulation_count_in_order():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    note_in_pass(log, parameter, "first", add=True)
    note_in_pass(log, parameter, "penalty", add=False)
    note_in_pass(log, parameter, "second", add=True)
    assert log.counted() == [("first", 0.0), ("second", 0.0)]
    log.restart()
    assert log.counted() == []


def test_of_the_pass_that_follows_a_clearing_everything_counts():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    note_in_pass(log, parameter, "cleared", add=True)
    parameter.grad = None
    note_in_pass(log, parameter, "first", "second", add=True)
    note_in_pass(log, parameter, "third", add=True)
    assert log.counted() == [("first", 0.0), ("second", 0.0), ("third", 0.0)]


def test_a_pass_that_is_cleared_before_one_without_notes_is_forgotten():
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    note_in_pass(log, parameter, "cleared", add=True)
    parameter.grad = None
    backward(parameter)
    assert log.counted() == []


def test_gradients_of_zero_are_none_to_be_kept():
    """Nor do they make the log forget anything: nobody can tell whether they were cleared."""
    parameter, log = nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([parameter])
    for name in ("first", "second"):
        inner = 0 * parameter
        inner.register_hook(lambda _, name=name: log.note(name))
        inner.sum().backward()
    assert log.counted() == [("first", 0.0), ("second", 0.0)]
    assert (log.added, log.kept) == (True, False)


@pytest.mark.parametrize(("value", "kept"), [(0.0, False), (1.0, True)])
def test_sparse_gradients_are_kept_if_any_element_is_not_zero(value, kept):
    table, log = nn.Embedding(4, 2, sparse=True), BackwardLog()
    log.attach([table.weight])
    rows = torch.tensor([[1, 1]])
    values = torch.tensor([[2.0, 0.0], [value - 2.0, 0.0]])
    table.weight.grad = torch.sparse_coo_tensor(rows, values, (4, 2), check_invariants=True)
    table(torch.tensor([2])).sum().backward()
    assert log.kept is kept


def test_attaching_again_watches_only_the_new_ones():
    old, new, log = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3)), BackwardLog()
    log.attach([old])
    log.attach([new])
    backward(old)
    assert not log.added
    backward(new)
    assert log.added
