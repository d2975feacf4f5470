"""The first non-finite value of the user's own loop: which layer, which pass, which operation."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli import GradientMonitor, load_run
from gradcli.errors import UserError
from gradcli.inspection.run_summary import summarise_run
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.notation.faults import fault_message
from gradcli.records import FaultRecord

WATCHES = ("every_step", "every_pass")


def faults_of(loop, model, optimizer=None, **options):
    """Run `loop(monitor, optimizer)` and return the faults that it emits."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.01)
    faults = []

    def take(record):
        if isinstance(record, FaultRecord):
            faults.append(record)

    monitor = LoopMonitor(model, optimizer, emit=take, **options)
    try:
        loop(monitor, optimizer)
    finally:
        monitor.close()
    return faults


def fault_of(model, *given, loss=None, watch="every_step", **options):
    """Make one step and return its fault; `loss` is computed from the output."""
    loss = loss or (lambda output: output.square().mean())

    def loop(monitor, optimizer):
        value = loss(model(*given))
        value.backward()
        monitor.step(value)

    (fault,) = faults_of(loop, model, watch=watch, **options)
    return fault


class Apply(nn.Module):
    """A module around a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *signals):
        return self.function(*signals)


def net(function, width=6):
    """Two layers with `function` between them, as the module `1`."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, width), Apply(function), nn.Linear(width, 1))


def batch(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


# What made it ----------------------------------------------------------------------------------

OPERATIONS = {
    "log of a negative": (torch.log, "log", "the logarithm of a negative number"),
    "log of zero": (lambda x: torch.log(torch.relu(x)), "log", "the logarithm of 0"),
    "root of a negative": (torch.sqrt, "sqrt", "the square root of a negative number"),
    "one by the root": (lambda x: torch.rsqrt(torch.relu(x)), "rsqrt", "1 / sqrt(0)"),
    "zero by zero": (lambda x: F.relu(x) / F.relu(x), "div", "0 / 0"),
    "by zero": (lambda x: (1 + x.abs()) / F.relu(x), "div", "a division by 0"),
    "inverse": (lambda x: F.relu(x).reciprocal(), "reciprocal", "1 / 0"),
    "exponential": (lambda x: torch.exp(1e3 * x), "exp", "is too large for float32"),
    "power": (lambda x: x**0.5, "pow", "not whole of a negative number"),
    "odd power": (lambda x: x**1.5, "pow", "not whole of a negative number"),
    "negative power": (lambda x: F.relu(x) ** -1.5, "pow", "a negative power of 0"),
    "arc": (lambda x: torch.acos(10 * x), "acos", "outside -1 to 1"),
    "in place": (lambda x: (x + 0).log_(), "log", "the logarithm of a negative number"),
    "overflow": (lambda x: x * 1e30 * 1e30, "mul", "an overflow of float32"),
    "half": (lambda x: (x * 1e6).half().float(), "_to_copy", "is too large for float16"),
    "deviation of one": (lambda x: x + x[:1, :1].std(), "std", "of a single value"),
    "mean of none": (lambda x: x + x[x > 1e9].mean(), "mean", "of no values"),
    "masked": (
        lambda x: F.softmax(x.masked_fill(torch.ones_like(x, dtype=torch.bool), -math.inf), -1),
        "_softmax",
        "everything is masked",
    ),
    "infinity later": (lambda x: torch.exp(1e3 * x) / torch.exp(1e3 * x), "exp", "is too large"),
}


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("kind", OPERATIONS)
def test_the_operation_and_its_cause_are_named(kind, watch):
    function, operation, cause = OPERATIONS[kind]
    fault = fault_of(net(function), batch(16, 6), watch=watch)
    assert (fault.phase, fault.layer, fault.unsure) == ("forward", "1", "")
    assert fault.operation == operation
    assert cause in fault.cause
    assert cause in fault_message(fault)


@pytest.mark.parametrize("watch", WATCHES)
def test_a_running_variance_below_zero_is_named(watch):
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 1)).eval()
    model[1].running_var.fill_(-2.0)
    fault = fault_of(model, batch(8, 6), watch=watch)
    assert (fault.phase, fault.layer) == ("forward", "1")
    assert fault.cause == "a negative running variance (-2)"


@pytest.mark.filterwarnings("ignore:std")
def test_a_batch_of_one_is_not_blamed_on_the_learning_rate(tmp_path):
    """However large the updates were: the deviation of one value does not exist."""
    model = net(lambda x: (x - x.mean(0)) / x.std(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    with (
        pytest.warns(RuntimeWarning, match="standard deviation of a single value"),
        GradientMonitor(model, optimizer, runs_dir=tmp_path) as monitor,
    ):
        for size in (16, 16, 1):
            loss = model(batch(size, 6)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)
            optimizer.step()
    run = load_run(monitor.run)
    assert max(max(record.update_ratio) for record in run.layer_records) > 0.5
    (found,) = [one for one in summarise_run(run).findings if one.code == "non-finite"]
    assert "learning rate" not in found.message
    assert "Leave out batches of one" in found.mend


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("norm", [nn.LayerNorm(6, eps=0.0), nn.GroupNorm(2, 6, eps=0.0)])
def test_a_normalisation_without_eps_is_named(norm, watch):
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), norm, nn.Linear(6, 1))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    fault = fault_of(model, batch(8, 6), watch=watch)
    assert (fault.phase, fault.layer) == ("forward", "2")
    assert "eps is 0" in fault.cause
    assert "eps" in fault_message(fault)


SLOPES = {
    "root": (lambda x: x + torch.sqrt((x - x.detach()).abs()), "SqrtBackward0"),
    "skipped logarithm": (
        lambda x: torch.where(x > 0, torch.log(x * (x > 0)), torch.zeros_like(x)),
        "LogBackward0",
    ),
    "skipped quotient": (
        lambda x: torch.where(x > 0, 1 / (x * (x > 0)), torch.zeros_like(x)),
        "ReciprocalBackward0",
    ),
    "arc": (lambda x: x + torch.acos(0 * x + 1), "AcosBackward0"),
    "power": (lambda x: x + (x - x.detach()).abs() ** 0.3, "PowBackward0"),
}


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("kind", SLOPES)
def test_a_derivative_that_does_not_exist_is_named(kind, watch):
    function, node = SLOPES[kind]
    fault = fault_of(net(function), batch(16, 6), watch=watch)
    assert (fault.phase, fault.layer, fault.unsure) == ("backward", "1", "")
    assert fault.operation == node
    assert fault.cause


# Which model -----------------------------------------------------------------------------------


class Keeps(nn.Module):
    """Keeps its activation, so that it cannot be deep-copied after a pass."""

    def __init__(self):
        super().__init__()
        self.encoder, self.log, self.decoder = nn.Linear(6, 6), Apply(torch.log), nn.Linear(6, 1)
        self.history = []

    def forward(self, signal):
        self.hidden = self.encoder(signal)
        self.history.append(self.hidden)
        return self.decoder(self.log(self.hidden))


class Closure(Keeps):
    """Holds a generator, which cannot be copied either."""

    def __init__(self):
        super().__init__()
        self.numbers = (number for number in range(3))


def weight_norm():
    model = Keeps()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.encoder = nn.utils.weight_norm(model.encoder)
    return model


def parametrized():
    model = Keeps()
    model.encoder = nn.utils.parametrizations.spectral_norm(model.encoder)
    return model


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("make", [Keeps, Closure, weight_norm, parametrized])
def test_models_that_cannot_be_copied_are_traced(make, watch):
    torch.manual_seed(0)
    fault = fault_of(make(), batch(16, 6), watch=watch)
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "log", "log")
    assert fault.unsure == ""


class Functional(nn.Module):
    """Its fault is in its own forward, between two of its modules."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 6), nn.Linear(6, 1)

    def forward(self, signal):
        return self.decoder(torch.log(self.encoder(signal)))


@pytest.mark.parametrize("watch", WATCHES)
def test_a_function_between_modules_is_placed_between_them(watch):
    fault = fault_of(Functional(), batch(16, 6), watch=watch)
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "(model)", "log")
    assert (fault.after, fault.before, fault.unsure) == ("encoder", "decoder", "")
    assert "between `encoder` and `decoder`" in fault_message(fault)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Functional()

    def forward(self, signal):
        return self.inner(signal) + 1


@pytest.mark.parametrize("watch", WATCHES)
def test_a_function_within_an_inner_module_is_placed_there(watch):
    fault = fault_of(Outer(), batch(16, 6), watch=watch)
    assert (fault.layer, fault.operation) == ("inner", "log")
    assert (fault.after, fault.before) == ("inner.encoder", "inner.decoder")


class Masked(nn.Module):
    """Attention with masks of -inf, which are no fault."""

    def __init__(self, function):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = Apply(function)

    def forward(self, signal, mask):
        return self.last(self.encoder(signal, mask=mask))


@pytest.mark.parametrize("watch", WATCHES)
def test_masks_of_infinity_are_no_fault(watch):
    torch.manual_seed(0)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    assert math.isinf(mask.min())
    fault = fault_of(Masked(torch.log), batch(4, 5, 8), mask, watch=watch)
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "last", "log")
    fault = fault_of(Masked(SLOPES["root"][0]), batch(4, 5, 8), mask, watch=watch)
    assert (fault.phase, fault.layer, fault.operation) == ("backward", "last", "SqrtBackward0")


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("boolean", [True, False])
def test_a_row_without_any_key_is_the_attentions_fault(boolean, watch):
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(20, 16)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
            self.out = nn.Linear(16, 2)

        def forward(self, words):
            padding = words.eq(0)
            mask = padding if boolean else torch.zeros(words.shape).masked_fill(padding, -math.inf)
            hidden = self.embed(words)
            seen, _ = self.attention(hidden, hidden, hidden, key_padding_mask=mask)
            return self.out((hidden + seen).masked_fill(padding[..., None], 0).sum(1))

    words = torch.randint(1, 20, (8, 5), generator=torch.Generator().manual_seed(0))
    words[3] = 0
    fault = fault_of(Text(), words, watch=watch)
    assert math.isfinite(fault.loss)
    assert (fault.phase, fault.layer) == ("forward", "attention")
    assert "masked" in fault.cause


class Rate(nn.Module):
    """Divides by an exposure that may be 0."""

    def __init__(self):
        super().__init__()
        self.encoder, self.rate, self.decoder = (
            nn.Linear(6, 6),
            Apply(torch.div),
            nn.Linear(6, 1),
        )

    def forward(self, signal, exposure):
        return self.decoder(torch.tanh(self.rate(F.relu(self.encoder(signal)), exposure)))


@pytest.mark.parametrize("watch", WATCHES)
def test_values_that_the_loss_leaves_out_are_traced(watch):
    exposure = torch.ones(16, 1)
    exposure[7] = 0
    kept = torch.arange(16) != 7
    fault = fault_of(
        Rate(), batch(16, 6), exposure, loss=lambda out: out[kept].square().mean(), watch=watch
    )
    assert math.isfinite(fault.loss)
    assert (fault.phase, fault.layer, fault.cause) == ("forward", "rate", "0 / 0")


# Which pass ------------------------------------------------------------------------------------


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("give", ["sum", "last", "each"])
@pytest.mark.parametrize("kind", ["forward", "backward"])
def test_the_micro_batch_of_an_accumulation_is_named(kind, give, watch):
    if kind == "forward":
        model, outlier = net(lambda x: torch.log(F.softplus(x))), -1e6
    else:
        model, outlier = net(lambda x: torch.sqrt(x.abs())), 0.0
        model[0].bias.requires_grad_(False).zero_()
    model[0].weight.data.abs_()

    def loop(monitor, optimizer):
        for step in range(1, 4):
            optimizer.zero_grad()
            total = 0.0
            for part in range(4):
                signal = batch(8, 6).abs()
                signal[3] = outlier if (step, part) == (3, 1) else 1.0
                loss = model(signal).square().mean() / 4
                loss.backward()
                total += loss.item()
                if give == "each":
                    monitor.step(loss)
            if give != "each":
                monitor.step(total if give == "sum" else loss)
            optimizer.step()

    (fault,) = faults_of(loop, model, watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (3, kind, "1")
    assert fault.forward_pass == 2
    assert fault.forward_passes == (2 if give == "each" else 4)
    assert "micro-batch 2" in fault_message(fault)


@pytest.mark.parametrize("watch", WATCHES)
def test_a_loop_that_calls_forward_directly_is_traced(watch):
    model = net(torch.log)

    def loop(monitor, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            loss = model.forward(batch(16, 6)).square().mean()
            loss.backward()
            monitor.step(loss)
            optimizer.step()

    (fault,) = faults_of(loop, model, watch=watch)
    assert (fault.step, fault.phase, fault.layer, fault.operation) == (1, "forward", "1", "log")


@pytest.mark.parametrize("watch", WATCHES)
def test_a_loop_that_calls_the_modules_one_by_one_is_traced(watch):
    model = Functional()

    def loop(monitor, optimizer):
        for step in range(1, 4):
            optimizer.zero_grad()
            for part in range(2):
                signal = model.encoder(batch(4, 6))
                bad = (step, part) == (2, 1)
                loss = model.decoder(torch.log(signal) if bad else signal).mean()
                loss.backward()
            monitor.step(loss)
            optimizer.step()

    (fault,) = faults_of(loop, model, watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (2, "forward", None)
    assert (fault.after, fault.before) == ("encoder", "decoder")
    assert (fault.forward_pass, fault.forward_passes) == (2, 2)
    assert "between `encoder` and `decoder`" in fault_message(fault)


# Inputs, parameters, updates, the loss -----------------------------------------------------------


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_input_that_is_not_finite_is_named(value, watch):
    exposure = torch.ones(16, 1)
    exposure[2] = value
    fault = fault_of(Functional2(), batch(16, 6), exposure, watch=watch)
    assert (fault.phase, fault.layer, fault.tensor) == ("inputs", None, "exposure")
    assert "`exposure`" in fault_message(fault)


class Functional2(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(6, 1)

    def forward(self, signal, exposure):
        return self.encoder(signal) * exposure


@pytest.mark.parametrize("watch", WATCHES)
def test_weights_that_were_loaded_broken_are_named(watch):
    model = net(torch.tanh)
    model[2].weight.data[0, 3] = math.nan
    fault = fault_of(model, batch(16, 6), watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (1, "parameters", "2")
    assert fault.tensor == "2.weight"


@pytest.mark.parametrize("watch", WATCHES)
def test_statistics_that_were_loaded_broken_are_named(watch):
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 1)).eval()
    model[1].running_var[2] = math.nan
    fault = fault_of(model, batch(16, 6), watch=watch)
    assert (fault.phase, fault.layer, fault.tensor) == ("parameters", "1", "1.running_var")


@pytest.mark.parametrize("watch", WATCHES)
def test_statistics_that_the_faulty_pass_itself_broke_are_not_blamed(watch):
    model = nn.Sequential(nn.Linear(6, 6), Apply(torch.log), nn.BatchNorm1d(6), nn.Linear(6, 1))
    fault = fault_of(model, batch(16, 6), watch=watch)
    assert bool(model[2].running_mean.isnan().any())
    assert (fault.phase, fault.layer) == ("forward", "1")


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.parametrize("ends", [True, False])
def test_an_update_that_breaks_weights_is_named(ends, watch):
    """A gradient that has always been 0, with eps=0: Adam divides 0 by 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=0.0)
    model[0].bias.data[2] = -100.0

    def loop(monitor, optimizer):
        for _ in range(1 if ends else 3):
            optimizer.zero_grad()
            loss = model(batch(16, 6)).square().mean()
            loss.backward()
            monitor.step(loss)
            optimizer.step()

    (fault,) = faults_of(loop, model, optimizer, watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (1, "update", "0")
    assert fault.tensor == "0.weight"
    assert "eps=0" in fault.cause
    assert "after the update" in fault_message(fault)


@pytest.mark.parametrize("watch", WATCHES)
def test_a_learning_rate_that_is_not_finite_is_named(watch):
    model = net(torch.tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loop(monitor, optimizer):
        for step in range(1, 5):
            optimizer.zero_grad()
            loss = model(batch(16, 6)).square().mean()
            loss.backward()
            monitor.step(loss)
            optimizer.param_groups[0]["lr"] = math.nan if step == 2 else 0.1
            optimizer.step()

    (fault,) = faults_of(loop, model, optimizer, watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (2, "update", "0")


def test_a_loss_that_is_not_finite_on_its_own_is_the_loss():
    model = net(torch.tanh)
    fault = fault_of(model, batch(16, 6), loss=lambda out: (out - 100).mean().log())
    assert (fault.phase, fault.layer, fault.unsure) == ("loss", None, "")


def test_every_pass_sees_the_operation_of_the_loss_and_broken_targets():
    model = net(torch.tanh)
    fault = fault_of(
        model, batch(16, 6), loss=lambda out: (out - 100).mean().log(), watch="every_pass"
    )
    assert (fault.phase, fault.layer, fault.operation) == ("loss", None, "log")
    assert "negative" in fault.cause
    targets = torch.zeros(16, 1)
    targets[5] = math.nan
    fault = fault_of(
        model, batch(16, 6), loss=lambda out: F.mse_loss(out, targets), watch="every_pass"
    )
    assert (fault.phase, fault.layer) == ("inputs", None)
    assert "targets" in fault_message(fault)


@pytest.mark.parametrize("watch", WATCHES)
def test_the_slope_of_the_loss_itself_is_not_blamed_on_a_layer(watch):
    """The root of a mean squared error of exactly 0."""
    model = net(torch.tanh)
    inputs = batch(16, 6)
    target = model(inputs).detach()
    fault = fault_of(
        model, inputs, loss=lambda out: (out - target).square().mean().sqrt(), watch=watch
    )
    assert fault.loss == 0
    assert (fault.phase, fault.layer) == ("backward", None)
    assert "gradient of the loss" in fault_message(fault)


# What is not certain -----------------------------------------------------------------------------


def test_a_gradient_that_a_repeated_pass_does_not_explain_is_between():
    model = net(torch.tanh)
    inputs = batch(16, 6)
    target = model(inputs).detach()

    def loss(out):
        return (out - target).square().mean().sqrt() + 1.0

    fault = fault_of(model, inputs, loss=loss)
    assert (fault.phase, fault.layer) == ("backward", "2")
    assert (fault.after, fault.before) == ("the loss", "2")
    message = fault_message(fault)
    assert "between the loss and `2`" in message
    assert 'watch="every_pass"' in message
    fault = fault_of(model, inputs, loss=loss, watch="every_pass")
    assert (fault.phase, fault.layer, fault.unsure) == ("backward", None, "")


def test_inputs_that_were_changed_after_the_pass_make_it_uncertain():
    model = net(lambda x: torch.where(x > 5, torch.log(-x), x))
    model[0].weight.data.fill_(1.0)

    def loop(monitor, optimizer):
        inputs = torch.ones(4, 6) * 3
        loss = model(inputs).square().mean()
        loss.backward()
        inputs.zero_()
        monitor.step(loss)

    (fault,) = faults_of(loop, model)
    assert (fault.phase, fault.after, fault.before) == ("loss", "the model's inputs", "the loss")
    assert "changed after the pass" in fault.unsure
    (fault,) = faults_of(loop, model, watch="every_pass")
    assert (fault.phase, fault.layer, fault.unsure) == ("forward", "1", "")


class Counting(nn.Module):
    """Breaks in its third pass only, so that no other pass tells."""

    def __init__(self):
        super().__init__()
        self.layer, self.passes = nn.Linear(6, 1), 0

    def forward(self, signal):
        self.passes += 1
        output = self.layer(signal)
        return output / (0.0 if self.passes == 3 else 1.0)


class Carries(nn.Module):
    """Carries a state from pass to pass, so that a repeated pass breaks elsewhere."""

    def __init__(self):
        super().__init__()
        self.layer, self.last, self.state = nn.Linear(6, 6), nn.Linear(6, 1), torch.zeros(6)

    def forward(self, signal):
        hidden = self.layer(signal) + self.state
        self.state = hidden.detach().mean(0) * 1e20
        return self.last(hidden.square() + 1)


def test_a_place_that_differs_from_pass_to_pass_is_uncertain():
    def loop(model):
        def run(monitor, optimizer):
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(batch(4, 6)).mean()
                loss.backward()
                monitor.step(loss)
                if math.isfinite(loss.item()):
                    optimizer.step()

        return run

    torch.manual_seed(0)
    model = Carries()
    (fault,) = faults_of(loop(model), model)
    assert "passes before" in fault.unsure
    torch.manual_seed(0)
    model = Carries()
    (fault,) = faults_of(loop(model), model, watch="every_pass")
    assert (fault.phase, fault.operation, fault.unsure) == ("forward", "pow", "")
    assert (fault.after, fault.before) == ("layer", "last")


def test_a_mask_that_the_model_keeps_is_no_fault():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.mask = nn.Linear(4, 4), Apply(lambda scores, mask: scores + mask)
            self.register_buffer("future", torch.full((4, 4), -math.inf).triu(1))
            self.root = Apply(SLOPES["root"][0])

        def forward(self, signal):
            scores = self.layer(signal) @ signal.transpose(0, 1)
            return self.root(torch.softmax(self.mask(scores, self.future), -1))

    fault = fault_of(Causal(), batch(4, 4))
    assert (fault.phase, fault.layer, fault.operation) == ("backward", "root", "SqrtBackward0")


@pytest.mark.parametrize("watch", WATCHES)
def test_what_the_loop_does_to_gradients_before_the_update_is_named(watch):
    model = nn.Sequential(nn.Linear(6, 2))

    def loop(monitor, optimizer):
        for _ in range(2):
            optimizer.zero_grad()
            loss = (model(batch(4, 6)) * 0).mean()
            loss.backward()
            monitor.step(loss)
            for parameter in model.parameters():
                parameter.grad.div_(parameter.grad.norm())
            optimizer.step()

    (fault,) = faults_of(loop, model, watch=watch)
    assert (fault.step, fault.phase, fault.layer) == (1, "update", "0")
    assert "after monitor.step" in fault.cause


def test_an_output_that_depends_on_the_passes_before_makes_it_uncertain():
    def loop(model):
        def run(monitor, optimizer):
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(batch(4, 6)).square().mean()
                loss.backward()
                monitor.step(loss)
                if math.isfinite(loss.item()):
                    optimizer.step()

        return run

    model = Counting()
    (fault,) = faults_of(loop(model), model)
    assert fault.phase == "loss"
    assert fault.unsure
    assert model.passes == 3
    model = Counting()
    (fault,) = faults_of(loop(model), model, watch="every_pass")
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "(model)", "div")


# What stays as it was ----------------------------------------------------------------------------


class Busy(nn.Module):
    """Changes all that a pass can change: statistics, random states, attributes, containers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.log, self.last = Apply(lambda x: torch.log(x + 1e-3)), nn.Linear(6, 1)
        self.register_buffer("average", torch.zeros(6))
        self.state, self.calls, self.kept = torch.zeros(6), 0, []

    def forward(self, signal):
        hidden = self.drop(F.relu(self.norm(self.first(signal))))
        self.average.lerp_(hidden.detach().mean(0), 0.1)
        self.state += hidden.detach().mean(0)
        self.calls += 1
        self.kept.append(self.calls)
        noise = torch.rand_like(hidden)
        if signal[0, 0] > 1e3:
            hidden = hidden - 1
        return self.last(self.log(hidden + 0 * noise))


def everything(model, optimizer):
    state = {**copy.deepcopy(dict(model.state_dict())), "state": model.state.clone()}
    state["random"] = torch.get_rng_state()
    return state, model.calls, list(model.kept), optimizer.state_dict()


@pytest.mark.parametrize("watch", [None, *WATCHES])
def test_the_training_goes_on_bit_identically(watch):
    def train(watch):
        torch.manual_seed(3)
        model = Busy()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        faults = []
        monitor = (
            LoopMonitor(model, optimizer, emit=faults.append, watch=watch, every=2)
            if watch
            else None
        )
        for step in range(1, 7):
            optimizer.zero_grad()
            signal = torch.randn(8, 6)
            if step == 3:
                signal[0, 0] = 1e4
            loss = model(signal).square().mean()
            loss.backward()
            if monitor:
                monitor.step(loss)
            if math.isfinite(loss.item()):
                optimizer.step()
        if monitor:
            monitor.close()
        return everything(model, optimizer), [one for one in faults if isinstance(one, FaultRecord)]

    (plain, *rest, states), _ = train(None)
    (found, *found_rest, found_states), faults = train(watch)
    assert found_rest == rest
    assert found.keys() == plain.keys()
    for name in plain:
        assert torch.equal(found[name].nan_to_num(7), plain[name].nan_to_num(7)), name
    for one, other in zip(states["state"].values(), found_states["state"].values(), strict=True):
        for name in one:
            assert torch.equal(one[name], other[name])
    if watch:
        (fault,) = faults
        assert (fault.step, fault.phase, fault.layer) == (3, "forward", "log")


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.output = nn.GRU(6, 7, batch_first=True), nn.Linear(7, 1)

    def forward(self, sequence):
        return self.output(self.gru(sequence)[0][:, -1])


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Recurrent, (4, 5, 6)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (4, 5, 8)),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.GELU()), (4, 1, 6, 6)),
    ],
)
def test_watching_every_pass_changes_no_bit(make, shape):
    def train(watch):
        torch.manual_seed(0)
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        monitor = LoopMonitor(model, optimizer, emit=[].append, watch=watch) if watch else None
        for _ in range(4):
            optimizer.zero_grad()
            for _ in range(2):
                loss = model(torch.randn(shape)).square().mean()
                loss.backward()
            if monitor:
                monitor.step(loss)
            optimizer.step()
            with torch.no_grad():
                model(torch.randn(shape))
        if monitor:
            monitor.close()
        return model.state_dict()

    plain, watched = train(None), train("every_pass")
    for name in plain:
        assert torch.equal(plain[name], watched[name]), name


def test_copies_are_not_watched_in_every_pass():
    model = net(torch.tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    faults = []
    monitor = LoopMonitor(model, optimizer, emit=faults.append, watch="every_pass", every=0)
    twin = copy.deepcopy(model)
    twin(torch.full((2, 6), math.nan))
    with torch.no_grad():
        model(torch.full((2, 6), math.nan))
    loss = model(batch(4, 6)).mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    monitor.close()
    assert not any(isinstance(one, FaultRecord) for one in faults)


def test_the_repeated_pass_is_not_taken_for_one_of_the_loop():
    """Its hooks, too, see it; a fault at a step whose layers are measured next would start that."""
    model = net(torch.log)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    records = []
    monitor = LoopMonitor(model, optimizer, emit=records.append, every=1)
    weights = model[0].weight.detach().clone()
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(batch(4, 6)).mean()
        loss.backward()
        monitor.step(loss)
    assert torch.equal(model[0].weight, weights)
    (fault,) = [one for one in records if isinstance(one, FaultRecord)]
    assert (fault.forward_pass, fault.forward_passes) == (1, 1)
    monitor.close()


@pytest.mark.parametrize("functional", [True, False])
def test_dropout_is_repeated_with_the_random_state_of_the_pass(functional):
    """Only the mask that drops the one value other than 0 leads to the logarithm of 0."""
    torch.manual_seed(0)
    drop = Apply(lambda x: F.dropout(x, 0.3)) if functional else nn.Dropout(0.3)
    model = nn.Sequential(nn.Linear(6, 6), drop, Apply(lambda x: torch.log(x.sum(1))))
    model[0].weight.data.zero_()
    model[0].bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))

    def loop(monitor, optimizer):
        while True:
            optimizer.zero_grad()
            loss = model(torch.ones(1, 6)).sum()
            loss.backward()
            torch.rand(100)  # the state has moved on when the pass is repeated
            state = torch.get_rng_state()
            monitor.step(loss)
            assert torch.equal(torch.get_rng_state(), state)
            if not math.isfinite(loss.item()):
                return

    (fault,) = faults_of(loop, model)
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "2", "log")


@pytest.mark.parametrize("watch", WATCHES)
def test_no_hook_and_no_mode_stay_behind(watch):
    from torch._C import _len_torch_dispatch_stack

    model = net(torch.log)
    fault_of(model, batch(4, 6), watch=watch)
    assert not _len_torch_dispatch_stack()
    assert not any(
        module._forward_pre_hooks or module._forward_hooks or module._backward_hooks
        for module in model.modules()
    )


def test_every_pass_refuses_compiled_models(tmp_path):
    model = torch.compile(net(torch.tanh), backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="compiled"):
        GradientMonitor(model, optimizer, runs_dir=tmp_path, watch="every_pass")


def test_an_unknown_way_to_watch_is_refused(tmp_path):
    model = net(torch.tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="every_step or every_pass"):
        GradientMonitor(model, optimizer, runs_dir=tmp_path, watch="always")


# On record -------------------------------------------------------------------------------------


def test_the_run_keeps_all_of_it_and_every_screen_says_the_same(runs_dir, gradcli):
    model = Functional()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        pytest.warns(RuntimeWarning) as warned,
        GradientMonitor(model, optimizer) as monitor,
    ):
        for _ in range(2):
            loss = model(batch(4, 6)).mean()
            loss.backward()
        monitor.step(loss)
    fault = load_run(monitor.run).fault
    assert (fault.phase, fault.layer, fault.operation) == ("forward", "(model)", "log")
    assert (fault.after, fault.before) == ("encoder", "decoder")
    assert (fault.forward_pass, fault.forward_passes) == (1, 2)
    assert str(warned[0].message) == fault_message(fault)
    shown = " ".join(gradcli("runs", "show", "latest").out.split())
    assert "first in (model) (log), forward pass, step 1" in shown
    inspected = " ".join(gradcli("inspect-gradients", "latest").out.split())
    assert "between `encoder` and `decoder`, made by log" in inspected
