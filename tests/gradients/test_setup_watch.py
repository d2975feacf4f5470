"""What a step shows of the set-up, by the watch alone: without a monitor or a trainer."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.gradients.backward_log import BackwardLog
from gradcli.gradients.layers import find_layers, layer_parameters
from gradcli.gradients.setup_watch import SetupWatch

ROWS, CLASSES = 6, 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, CLASSES))


class Watched:
    """A model that is watched, in steps that a test makes itself."""

    def __init__(self, model, **options):
        self.model, self.log = model, BackwardLog()
        layers = find_layers(model)
        self.parameters = layer_parameters(model, layers)
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        called = options.pop("called", model)
        self.watch = SetupWatch(model, layers, called, self.log, **options)
        self.updates = 0

    def step(self, run, **scale):
        """Observe a step that computes a loss and goes backward; return its record."""
        self.log.restart()
        self.log.attach(self.parameters)
        self.watch.attach()
        self.watch.hand_over(run(self.model))
        self.watch.before_update(self.optimizer)
        self.watch.detach()
        self.log.detach()
        record = self.watch.record(self.updates, **scale)
        self.updates += 1
        return record


def observe(model, run, **options):
    return Watched(model, **options).step(run)


def backward(loss):
    loss.backward()
    return loss


def on(inputs, loss_of=lambda outputs: outputs.square().mean()):
    """A step on some inputs."""
    return lambda model: backward(loss_of(model(inputs)))


INPUTS = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))


# The output and its gradient.


@pytest.mark.parametrize("scale", [1.0, 16.0])
def test_the_gradient_of_the_output_is_that_of_numpy(scale):
    model = net()
    record = Watched(model).step(on(INPUTS, lambda y: scale * y.square().mean()), scale=scale)
    output = model(INPUTS).detach().numpy().astype(np.float64)
    gradient = 2 * output / output.size
    assert record.output_grad_norm == pytest.approx(np.linalg.norm(gradient) * math.sqrt(ROWS))
    assert record.outputs.mean == pytest.approx(output.mean(), abs=1e-7)
    sums = output.sum(axis=1)
    assert record.output_sums == pytest.approx((sums.min(), sums.max()), abs=1e-6)


class Returns(nn.Module):
    """Returns what a function makes of its result."""

    def __init__(self, make):
        super().__init__()
        self.layer, self.make = nn.Linear(4, CLASSES), make

    def forward(self, inputs):
        return self.make(self.layer(inputs))


def total(output):
    """A number for whatever a model returns."""
    tensors = [output] if isinstance(output, torch.Tensor) else list(output)
    return sum(tensor.float().sum() for tensor in tensors if torch.is_tensor(tensor))


@pytest.mark.parametrize(
    ("make", "shape", "sums"),
    [
        (lambda y: 0 * y + 2, (ROWS, CLASSES), (6.0, 6.0)),
        (lambda y: (0 * y + 2)[:, None], (ROWS, 1, CLASSES), (6.0, 6.0)),
        (lambda y: (0 * y + 2)[:, 0], (ROWS,), None),
        (lambda y: 0 * y.sum() + 2, (), None),
        (lambda y: (y.sum(), 0 * y + 2, y), (ROWS, CLASSES), (6.0, 6.0)),
        (lambda y: (y.sum() * 0 + 2, y.sum()), (), None),
        (lambda y: [torch.ones(2, 3).long(), y], (2, 3), None),
        (lambda y: (torch.ones(2, 0), y), None, None),
    ],
)
def test_the_output_is_the_first_with_an_axis_or_else_the_first(make, shape, sums):
    record = observe(Returns(make), on(INPUTS, total))
    assert (record.outputs.shape if record.outputs else None) == shape
    if record.outputs and shape != (2, 3):
        assert record.outputs.mean == pytest.approx(2.0)
    assert record.output_sums == pytest.approx(sums or (math.nan, math.nan), nan_ok=True)


def test_a_single_number_has_one_row():
    record = observe(Returns(lambda y: y.square().mean()), on(INPUTS, lambda y: 3 * y))
    assert record.output_grad_norm == pytest.approx(3.0)


@pytest.mark.parametrize("output", [None, "text"])
def test_a_model_may_return_no_tensor(output):
    kept = []

    def run(model):
        model(INPUTS)
        return backward(kept.pop().sum())

    record = observe(Returns(lambda y: kept.append(y) or output), run)
    assert record.outputs is None
    assert record.inputs.shape == (ROWS, 4)
    assert record.calls == (1,)


@pytest.mark.parametrize("columns", [2, 3, 5])
def test_the_usual_target_is_the_commonest_label_of_more_than_two(columns):
    labels = torch.tensor([1, 1, 0, 1, 0, 1])
    model = nn.Linear(4, columns)
    found = observe(model, on(INPUTS, lambda y: F.cross_entropy(y, labels))).usual_target
    expected = (-1, math.nan) if columns == 2 else (1, 4 / 6)
    assert found == pytest.approx(expected, nan_ok=True)


def test_an_output_of_three_axes_has_no_usual_target():
    record = observe(Returns(lambda y: y[:, :, None].expand(-1, -1, 4)), on(INPUTS, total))
    assert record.usual_target[0] == -1


def test_the_last_forward_pass_is_the_one_described():
    model = net()
    labels = [torch.zeros(ROWS).long(), torch.tensor([2, 2, 2, 2, 2, 0])]
    batches = [INPUTS, 2 + INPUTS]

    def run(model):
        for inputs, label in zip(batches, labels, strict=True):
            loss = backward(F.cross_entropy(model(inputs), label))
        return loss

    record = observe(model, run)
    assert record.usual_target == (2, pytest.approx(5 / 6))
    assert record.inputs.mean == pytest.approx(batches[1].mean().item())
    probabilities = model(batches[1]).softmax(1) - F.one_hot(labels[1], CLASSES)
    expected = (probabilities / ROWS).norm().item() * math.sqrt(ROWS)
    assert record.output_grad_norm == pytest.approx(expected)
    assert record.calls == (1, 1)


def test_without_gradients_of_the_output_the_last_pass_is_described():
    def run(model):
        model(INPUTS)
        model(5 + INPUTS)
        return torch.tensor(1.0)

    record = observe(net(), run)
    assert record.inputs.mean == pytest.approx(5 + INPUTS.mean().item(), rel=1e-5)
    assert math.isnan(record.output_grad_norm)
    assert record.call_order == (0, 1)


def test_a_step_without_any_pass_shows_nothing_of_one():
    record = observe(net(), lambda model: 1.0)
    assert (record.inputs, record.outputs, record.calls, record.call_order) == (None, None, (), ())
    assert (record.loss_path, record.output_at, record.cut_off) == ((), -1, ())
    assert record.single_path is None
    assert record.requires_grad == (True,) * 4
    assert record.without_gradient == (0, 1, 2, 3)


def test_passes_without_gradient_mode_are_not_described():
    def run(model):
        loss = model(INPUTS).square().mean()
        with torch.no_grad():
            model(5 + INPUTS)
            model[0](5 + INPUTS)
        return backward(loss)

    model = net()
    record = observe(model, run)
    assert record.inputs.mean == pytest.approx(INPUTS.mean().item())
    assert record.outputs.mean == pytest.approx(model(INPUTS).mean().item())
    assert record.calls == (1, 1)


def test_layers_called_without_gradient_mode_are_not_described():
    def run(model):
        loss = model[2](model[1](model[0](INPUTS))).square().mean()
        with torch.no_grad():
            model[0](5 + INPUTS)
        return backward(loss)

    model = net()
    record = observe(model, run)
    assert record.inputs.mean == pytest.approx(INPUTS.mean().item())
    assert record.outputs.mean == pytest.approx(model(INPUTS).mean().item())
    assert record.calls == (1, 1)


@pytest.mark.parametrize("inside", [True, False])
def test_of_two_passes_the_one_with_a_gradient_is_described(inside):
    def run(model):
        loss = model(INPUTS).square().mean()
        model(5 + INPUTS)
        return backward(loss)

    record = observe(net(), run, inside=inside)
    assert record.inputs.mean == pytest.approx(INPUTS.mean().item())


def test_without_gradients_layers_that_the_loop_calls_come_before_passes():
    def run(model):
        model(INPUTS)
        model[0](5 + INPUTS)
        return 1.0

    record = observe(net(), run)
    assert record.inputs.mean == pytest.approx(5 + INPUTS.mean().item(), rel=1e-5)
    assert record.calls == (1, 0)


class Prepares(nn.Module):
    """Changes its inputs before its first layer sees them, and takes them by name."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, CLASSES)

    def forward(self, *, inputs):
        return self.layer(100 * inputs[:, :2])


def test_inputs_are_those_of_the_model_and_not_of_its_first_layer():
    record = observe(Prepares(), lambda model: backward(model(inputs=INPUTS).square().mean()))
    assert record.inputs.shape == (ROWS, 4)
    assert record.inputs.high == INPUTS.max().item()


def test_nothing_is_known_before_a_loss_was_handed_over():
    watched = Watched(net())
    watched.watch.attach()
    record = watched.watch.record(3)
    assert record.usual_target[0] == record.output_at == -1
    assert math.isnan(record.output_grad_norm)
    assert record.dropout == ("", 0.0)
    assert record.groups == record.call_order == record.calls == record.replaced == ()
    assert (record.updates_watched, record.not_cleared) == (0, 0)


# Which calls.


class CallsItself(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, inputs, times=2):
        inputs = self.layer(inputs)
        return self(inputs + 3, times - 1) if times else inputs


def test_a_model_that_calls_itself_is_called_once():
    model = CallsItself()
    record = observe(model, on(INPUTS))
    assert record.inputs.mean == pytest.approx(INPUTS.mean().item())
    assert record.outputs.mean == pytest.approx(model(INPUTS).mean().item())
    assert record.calls == (3,)
    assert record.single_path is False


def test_a_pass_after_one_that_called_itself_is_another():
    def run(model):
        backward(model(INPUTS).square().mean())
        return backward(model(INPUTS, times=0).square().mean())

    assert observe(CallsItself(), run).calls == (1,)


def test_layers_that_the_loop_calls_are_the_pass():
    def run(model):
        return backward(model[2](model[1](model[0](INPUTS))).square().mean())

    model = net()
    record = observe(model, run)
    assert (record.call_order, record.calls, record.single_path) == ((0, 1), (1, 1), True)
    assert record.inputs.shape == (ROWS, 4)
    output = model(INPUTS).detach()
    assert record.outputs.mean == pytest.approx(output.mean().item(), rel=1e-5)
    expected = (2 * output / output.numel()).norm().item() * math.sqrt(ROWS)
    assert record.output_grad_norm == pytest.approx(expected)
    assert record.output_at == -1
    assert record.cut_off == ()


def test_layers_called_by_the_loop_several_times_are_counted_per_pass():
    def run(model):
        for _ in range(3):
            loss = backward(model[2](model[1](model[0](INPUTS))).square().mean())
        return loss

    assert observe(net(), run).calls == (1, 1)


def test_a_frozen_part_called_without_gradients_is_in_the_order():
    class Frozen(nn.Module):
        def __init__(self, trained):
            super().__init__()
            self.base = nn.Linear(4, 4).requires_grad_(trained)
            self.head = nn.Linear(4, CLASSES)

        def forward(self, inputs):
            with torch.no_grad():
                features = self.base(inputs)
            return self.head(features)

    record = observe(Frozen(trained=False), on(INPUTS))
    assert (record.call_order, record.calls, record.single_path) == ((0, 1), (1, 1), True)
    assert observe(Frozen(trained=True), on(INPUTS)).single_path is None


class Unrolled(nn.Module):
    """Calls a layer several times, with a cut after one of them."""

    def __init__(self, times, cut=0, before=0):
        super().__init__()
        self.cell, self.times, self.cut, self.before = nn.Linear(4, 4), times, cut, before

    def forward(self, state):
        with torch.no_grad():
            for _ in range(self.before):
                state = self.cell(state)
        for time in range(1, self.times + 1):
            state = self.cell(state)
            if time == self.cut:
                state = state.detach()
        return state


@pytest.mark.parametrize(
    ("times", "cut", "expected"),
    [(3, 0, ()), (3, 1, ((0, 2, 3),)), (3, 2, ((0, 1, 3),)), (1, 0, ())],
)
def test_calls_that_the_loss_does_not_depend_on_are_cut_off(times, cut, expected):
    record = observe(Unrolled(times, cut), on(INPUTS))
    assert record.calls == (times,)
    assert record.cut_off == expected


def test_calls_without_gradients_are_not_cut_off():
    record = observe(Unrolled(3, before=2), on(INPUTS))
    assert record.calls == (5,)
    assert record.cut_off == ()
    assert observe(Unrolled(3, cut=1, before=2), on(INPUTS)).cut_off == ((0, 2, 3),)


def test_each_pass_has_calls_of_its_own():
    def run(model):
        backward(model(INPUTS).square().mean())
        return backward(model(INPUTS).square().mean())

    assert observe(Unrolled(3, cut=2), run).cut_off == ((0, 1, 3),)


def test_the_output_is_found_on_the_way_from_the_loss():
    record = observe(net(), on(INPUTS, lambda y: F.cross_entropy(y, torch.zeros(ROWS).long())))
    assert (record.loss_path, record.output_at) == (("NllLoss", "LogSoftmax", "Addmm"), 2)


def test_what_a_hook_of_the_users_calls_in_the_backward_pass_is_no_pass():
    def run(model):
        outputs = model(INPUTS)

        def look(gradient):
            with torch.enable_grad():
                model(5 + INPUTS)
                model[0](5 + INPUTS)

        outputs.register_hook(look)
        return backward(outputs.square().mean())

    record = observe(net(), run)
    assert record.inputs.mean == pytest.approx(INPUTS.mean().item())
    assert record.calls == (1, 1)


@pytest.mark.parametrize("inside", [True, False])
def test_modules_inside_are_left_alone_if_they_must_be(inside):
    model = nn.Sequential(nn.Linear(4, CLASSES), nn.Dropout(0.5).eval())
    record = observe(model, on(INPUTS), inside=inside)
    assert record.calls == ((1,) if inside else ())
    assert record.eval_mode == (("1",) if inside else ())
    assert record.outputs.shape == (ROWS, CLASSES)


def test_a_model_compiled_in_place_gets_no_hooks_of_its_own():
    model = net()
    model._compiled_call_impl = model._call_impl  # as `model.compile()` leaves it
    watched = Watched(model)
    watched.watch.attach()
    assert not model._forward_pre_hooks
    assert not model._forward_hooks
    watched.watch.detach()


def test_a_pass_that_raised_leaves_the_next_one_observed():
    def run(model):
        with pytest.raises(RuntimeError):
            model(torch.ones(ROWS, 5))
        return on(INPUTS)(model)

    record = observe(net(), run)
    assert record.inputs.shape == (ROWS, 4)
    assert record.outputs.shape == (ROWS, CLASSES)
    assert record.calls == (1, 1)


# Modes.


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, inputs):
        return self.head(self.drop(self.norm(self.stem(inputs))))


@pytest.mark.parametrize(
    ("in_eval", "made", "eval_mode", "unmade"),
    [
        ((), False, set(), ()),
        (("norm",), False, {"norm"}, ("norm",)),
        (("norm",), True, {"norm"}, ()),
        (("drop",), False, {"drop"}, ()),
        (("norm", "drop"), False, {"norm", "drop"}, ("norm",)),
    ],
)
def test_modules_in_eval_mode_on_the_way_of_gradients(in_eval, made, eval_mode, unmade):
    model = Mixed()
    if made:
        model(INPUTS)
    for name in in_eval:
        model.get_submodule(name).eval()
    record = observe(model, on(INPUTS))
    assert set(record.eval_mode) == eval_mode
    assert record.unmade_statistics == unmade
    assert record.dropout == (("", 0.0) if "drop" in in_eval else ("drop", 0.5))


@pytest.mark.parametrize("how", ["without gradients", "not trained on"])
def test_an_evaluation_in_eval_mode_is_none_of_the_training(how):
    def run(model):
        model.eval()
        with torch.set_grad_enabled(how != "without gradients"):
            model(INPUTS)
        return on(INPUTS)(model.train())

    assert observe(Mixed(), run).eval_mode == ()


def test_a_module_that_gradients_do_not_reach_has_no_mode_of_training():
    model = nn.Sequential(nn.Dropout(0.5).eval(), nn.Linear(4, CLASSES))
    assert observe(model, on(INPUTS)).eval_mode == ()


# What is kept, and what is counted.


def test_gradients_of_before_are_kept_from_the_second_update_on():
    watched = Watched(net())
    watched.model[0].weight.grad = torch.ones(5, 4)  # from before the training: nobody's mistake
    first = watched.step(on(INPUTS))
    second = watched.step(on(INPUTS))
    watched.model.zero_grad()
    third = watched.step(on(INPUTS))
    fourth = watched.step(lambda model: 0.0)
    assert [one.step for one in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert [one.updates_watched for one in (first, second, third, fourth)] == [0, 1, 2, 2]
    assert [one.not_cleared for one in (first, second, third, fourth)] == [0, 1, 1, 1]
    state = watched.watch.state_dict()
    assert state == {"updates_watched": 2, "not_cleared": 1}
    other = Watched(net())
    other.watch.load_state_dict(state)
    assert other.watch.state_dict() == state


def test_parameters_layers_and_groups_as_they_are_at_the_update():
    model = net()
    model[0].bias.requires_grad_(False)
    with torch.no_grad():
        model[2].weight.fill_(0.5)
    record = observe(model, on(INPUTS))
    assert record.requires_grad == (True, False, True, True)
    assert record.without_gradient == (1,)
    assert record.identical_units == (1,)
    assert record.weight_gains[1] == pytest.approx(0.5 * math.sqrt(5))
    assert record.groups[0].parameters == (0, 1, 2, 3)
    assert record.replaced == ()


def test_a_layer_that_was_replaced_is_told():
    watched = Watched(net())
    watched.model[2] = nn.Linear(5, CLASSES)
    assert watched.step(on(INPUTS)).replaced == (1,)


def test_the_order_of_calls_is_known_once_the_loss_is():
    watched = Watched(net())
    assert watched.watch.call_order == ()
    watched.step(on(INPUTS))
    assert watched.watch.call_order == (0, 1)


def test_hooks_are_removed_and_copies_of_them_are_idle():
    model = net()
    watched = Watched(model)
    watched.watch.attach()
    twin = copy.deepcopy(model)
    twin(INPUTS).square().mean().backward()
    watched.watch.hand_over(model(INPUTS).square().mean())
    assert watched.watch.record(0).calls == (1, 1)
    watched.watch.detach()
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


def test_attaching_again_leaves_each_hook_once():
    watched = Watched(net())
    watched.watch.attach()
    assert watched.step(on(INPUTS)).calls == (1, 1)
