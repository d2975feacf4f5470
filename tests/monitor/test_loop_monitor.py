"""The monitor of somebody's own loop: any model, any order of calls, the same weights."""

from __future__ import annotations

import copy
import io
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.gradients.layers import find_layers
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.records import (
    FaultRecord,
    FingerprintRecord,
    LayerRecord,
    SetupRecord,
    StepRecords,
)

BATCH, CLASSES = 8, 5


class Residual(nn.Module):
    """A small ResNet with batch norm."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.inner = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.output = nn.Linear(4, CLASSES)

    def forward(self, images):
        hidden = F.relu(self.norm(self.stem(images)))
        return self.output((hidden + self.inner(hidden)).mean(dim=(2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(6, 7, batch_first=True)
        self.output = nn.Linear(7, CLASSES)

    def forward(self, sequence):
        return self.output(self.gru(sequence)[0][:, -1])


class Attention(nn.Module):
    """A small Transformer encoder, dropout included."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.output = nn.Linear(8, CLASSES)

    def forward(self, sequence):
        return self.output(self.encoder(sequence).mean(dim=1))


class Tied(nn.Module):
    """A language model in small: one matrix embeds and classifies; one layer gets no gradient."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 6)
        self.inner = nn.Linear(6, 6)
        self.unused = nn.Linear(3, 3)
        self.output = nn.Linear(6, CLASSES, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens):
        return self.output(torch.tanh(self.inner(self.embedding(tokens).mean(dim=1))))


def frozen():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5))
    model[2].requires_grad_(False)
    return model


def floats(*shape):
    return lambda: torch.randn(BATCH, *shape)


MODELS = {
    "transformer": (Attention, floats(3, 8)),
    "resnet": (Residual, floats(1, 6, 6)),
    "gru": (Recurrent, floats(4, 6)),
    "tied": (Tied, lambda: torch.randint(CLASSES, (BATCH, 3))),
    "frozen": (frozen, floats(6)),
}


class Signs(torch.optim.Optimizer):
    """An optimizer of the user's own, which calls its learning rate something else."""

    def __init__(self, parameters, pace):
        super().__init__(parameters, {"pace": pace})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=group["pace"])


class Watched:
    """A monitor together with what it emitted, sorted."""

    def __init__(self, model, optimizer, **options):
        self.blocks, self.layer_records, self.faults = [], [], []
        self.setups, self.fingerprints = [], []
        homes = {
            StepRecords: self.blocks,
            LayerRecord: self.layer_records,
            FaultRecord: self.faults,
            SetupRecord: self.setups,
            FingerprintRecord: self.fingerprints,
        }
        self.monitor = LoopMonitor(
            model, optimizer, emit=lambda record: homes[type(record)].append(record), **options
        )

    def column(self, name):
        return np.concatenate([getattr(block, name) for block in self.blocks])


def names(monitor):
    return [parameter.name for layer in monitor.layers for parameter in layer.parameters]


def exact_norms(model, monitor):
    """Norms in float64, by the definition; 0 for a missing gradient."""
    return [
        0.0 if p.grad is None else p.grad.double().square().sum().sqrt().item()
        for p in map(model.get_parameter, names(monitor))
    ]


def train(kind, monitored, *, scaler=False, parts=1, steps=6, compile_=False, every=2):
    """Train as a careful loop does; return the weights, what was watched, and exact norms."""
    torch.manual_seed(3)
    make, draw = MODELS[kind]
    model = make()
    called = torch.compile(model, backend="eager") if compile_ else model
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30) if scaler else None
    watched, before, after = None, [], []
    if monitored:
        watched = Watched(called, optimizer, scaler=scaler, every=every)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.zeros(())
        for _ in range(parts):
            part = F.cross_entropy(called(draw()), torch.randint(CLASSES, (BATCH,))) / parts
            (scaler.scale(part) if scaler else part).backward()
            loss += part.detach()
        if watched:
            watched.monitor.step(loss)
            before.append(exact_norms(model, watched.monitor))
        if scaler:
            scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        if watched:
            after.append(exact_norms(model, watched.monitor))
        if scaler:
            scaler.step(optimizer)
            scaler.update()
        else:
            optimizer.step()
    if watched:
        watched.monitor.close()
    return model.state_dict(), watched, np.array(before), np.array(after)


def assert_same(states, others):
    assert states.keys() == others.keys()
    for name, tensor in states.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize("options", [{}, {"parts": 3}, {"scaler": True}], ids=str)
@pytest.mark.parametrize("kind", MODELS)
def test_weights_and_buffers_are_those_of_a_loop_without_it(kind, options):
    plain = train(kind, False, **options)[0]
    assert_same(plain, train(kind, True, **options)[0])
    assert_same(plain, train(kind, True, every=0, **options)[0])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("kind", MODELS)
def test_every_norm_before_and_after_clipping_is_autograds(kind, parts):
    _, watched, before, after = train(kind, True, parts=parts)
    columns = watched.column
    np.testing.assert_allclose(columns("parameter_grad_norm_before_clip"), before, rtol=1e-5)
    np.testing.assert_allclose(columns("parameter_grad_norm_after_clip"), after, rtol=1e-5)
    np.testing.assert_allclose(
        columns("clip_coefficient"),
        np.minimum(1, 0.3 / (np.linalg.norm(before, axis=1) + 1e-6)),
        rtol=1e-5,
    )
    assert columns("step").tolist() == [1, 2, 3, 4, 5, 6]
    assert set(columns("learning_rate")) == {0.01}
    # Not the last layer alone, which is all that a backward hook could see in `p.grad`.
    with_gradient = [MODELS[kind][0]().get_parameter(name) for name in names(watched.monitor)]
    trained = [p.requires_grad and tuple(p.shape) not in {(3, 3), (3,)} for p in with_gradient]
    assert (before[:, trained] > 0).all()


def test_scaled_gradients_are_recorded_without_their_scale():
    """Gradients times 2^10 are exact in float32, so both loops must tell the same numbers."""
    rows = []
    for unscale in (False, True):
        for scaled in (False, True):
            torch.manual_seed(0)
            model = frozen()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
            watched = Watched(model, optimizer, scaler=scaler, every=1)
            for _ in range(4):
                inputs = torch.randn(BATCH, 6, requires_grad=True)
                loss = F.cross_entropy(model(inputs), torch.randint(CLASSES, (BATCH,)))
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                if unscale:
                    scaler.unscale_(optimizer)
                watched.monitor.step(loss)
                scaler.step(optimizer)
                scaler.update()
            watched.monitor.close()
            rows.append(
                [
                    watched.column("parameter_grad_norm_before_clip"),
                    watched.column("parameter_grad_norm_after_clip"),
                    [record.update_ratio for record in watched.layer_records],
                    [record.input_grad_norm for record in watched.layer_records],
                ]
            )
            assert watched.monitor.skipped == 0
    for other in rows[1:]:
        for values, expected in zip(other, rows[0], strict=True):
            np.testing.assert_allclose(values, expected, rtol=1e-5)
    assert np.isfinite(rows[0][3]).all()


@pytest.mark.parametrize("optimizer", ["SGD", "fused Adam"])
def test_steps_that_the_scaler_leaves_out_are_counted_and_no_faults(optimizer):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
        "fused Adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    }[optimizer](model.parameters())
    # 1e35 times the scale, which the backward pass meets on its way, is infinite above 2^11.
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**15)
    watched = Watched(model, optimizer, scaler=scaler, every=1)
    updates = 0
    for _ in range(12):
        loss = (model(torch.ones(3, 4)) * 1e-35 * 1e35).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        weight = model.weight.detach().clone()
        watched.monitor.step(loss)
        scaler.step(optimizer)
        scaler.update()
        updates += not torch.equal(weight, model.weight)
    watched.monitor.close()
    assert updates == 8
    assert watched.monitor.updates == updates
    assert watched.monitor.skipped == 12 - updates
    assert watched.column("step").tolist() == list(range(1, updates + 1))
    assert np.isfinite(watched.column("grad_norm_before_clip")).all()
    assert [record.step for record in watched.layer_records] == list(range(1, updates + 1))
    assert all(record.update_ratio[0] > 0 for record in watched.layer_records)
    assert watched.faults == []


def test_gradients_that_no_scale_can_fix_are_a_fault():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    watched = Watched(model, optimizer, scaler=scaler)
    model[0].weight.register_hook(lambda gradient: gradient * math.inf)
    for _ in range(5):
        loss = model(torch.ones(3, 4)).sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        watched.monitor.step(loss)
        scaler.step(optimizer)
        scaler.update()
    watched.monitor.close()
    assert watched.monitor.skipped == 5
    assert [(fault.phase, fault.layer) for fault in watched.faults] == [("backward", "0")]


def test_update_ratios_and_weight_norms_are_those_of_the_update():
    torch.manual_seed(0)
    model, inputs = frozen(), torch.randn(5, BATCH, 6)
    optimizer = Signs(model.parameters(), pace=0.01)
    watched = Watched(model, optimizer, every=2)
    expected = []
    for batch in inputs:
        old = {name: p.detach().clone() for name, p in model.named_parameters()}
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        watched.monitor.step(loss)
        optimizer.step()
        row = []
        for index in "024":
            pairs = [(old[f"{index}.{n}"], p) for n, p in model[int(index)].named_parameters()]
            weights = math.sqrt(sum(a.double().square().sum().item() for a, _ in pairs))
            moved = math.sqrt(sum((b - a).double().square().sum().item() for a, b in pairs))
            row.append((weights, moved / weights if index != "2" else math.nan))
        expected.append(row)
    watched.monitor.close()
    assert [record.step for record in watched.layer_records] == [1, 2, 3, 5]
    rows = [expected[record.step - 1] for record in watched.layer_records]
    for record, row in zip(watched.layer_records, rows, strict=True):
        np.testing.assert_allclose(record.weight_norm, [one[0] for one in row], rtol=1e-5)
        np.testing.assert_allclose(record.update_ratio, [one[1] for one in row], rtol=1e-3)
    assert np.isnan(watched.column("learning_rate")).all()  # there is none of that name


def test_input_gradients_are_autograds_also_over_an_accumulation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer, every=1)
    squares = 0.0
    for _ in range(2):
        batch, labels = torch.randn(BATCH, 6), torch.randint(CLASSES, (BATCH,))
        hidden = torch.tanh(twin[0](batch)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(twin[2](hidden), labels), hidden)
        squares += gradient.double().square().sum().item()
        with torch.no_grad():
            model(batch)  # an evaluation in between is none of the training's passes
        loss = F.cross_entropy(model(batch), labels)
        loss.backward()
    watched.monitor.step(loss)
    optimizer.step()
    (record,) = watched.layer_records
    assert record.input_grad_norm[1] == pytest.approx(math.sqrt(squares), rel=1e-5)
    assert math.isnan(record.input_grad_norm[0])  # the data's gradient is not needed


# The compiler of torch 2.15 looks at `.grad` of tensors that have none, and warns of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("kind", ["frozen", "gru", "resnet"])
def test_a_compiled_model_is_looked_through(kind):
    plain, *_ = train(kind, False, compile_=True)
    weights, watched, before, after = train(kind, True, compile_=True)
    assert_same(plain, weights)
    assert "_orig_mod" not in "".join(names(watched.monitor))
    np.testing.assert_allclose(watched.column("parameter_grad_norm_before_clip"), before, rtol=1e-5)
    np.testing.assert_allclose(watched.column("parameter_grad_norm_after_clip"), after, rtol=1e-5)
    assert [record.step for record in watched.layer_records] == [1, 2, 3, 5]
    for record in watched.layer_records:
        assert np.isfinite(record.weight_norm).all()
        assert np.isnan(record.input_grad_norm).all()


def test_a_model_compiled_in_place_gets_no_hooks():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.compile(backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    loss = model(torch.ones(2, 4)).sum()
    loss.backward()
    watched.monitor.step(loss)
    optimizer.step()
    assert len(watched.layer_records) == 1
    assert not any(module._forward_pre_hooks for module in model.modules())
    watched.monitor.close()


def one_step(model, optimizer, watched, inputs, change=lambda: None):
    optimizer.zero_grad()
    loss = model(inputs).square().mean()
    loss.backward()
    watched.monitor.step(loss)
    before = exact_norms(model, watched.monitor)
    change()
    after = exact_norms(model, watched.monitor)
    optimizer.step()
    return before, after


def clip_through_data(model):
    for parameter in model.parameters():
        parameter.grad.data.clamp_(-1e-3, 1e-3)


def replace_gradients(model):
    for parameter in model.parameters():
        parameter.grad = parameter.grad * 0.5


def clip_through_numpy(model):
    for parameter in model.parameters():
        parameter.grad.numpy()[...] *= 0.25


@pytest.mark.parametrize("change", [clip_through_data, clip_through_numpy, replace_gradients])
@pytest.mark.parametrize("begin", [0, 97])
def test_changes_of_gradients_are_seen_however_they_are_made(change, begin):
    """Also those that version counters do not tell of, from within the first 100 steps on."""
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    watched = Watched(model, optimizer)
    rows = []
    for step in range(140):
        active = step >= begin
        rows.append(
            one_step(
                model,
                optimizer,
                watched,
                torch.randn(BATCH, 6),
                (lambda: change(model)) if active else (lambda: None),
            )
        )
        if step == 99:
            watched.monitor.flush()  # as happens each second
    watched.monitor.close()
    before, after = np.array(rows).transpose(1, 0, 2)
    np.testing.assert_allclose(watched.column("parameter_grad_norm_before_clip"), before, rtol=1e-5)
    np.testing.assert_allclose(watched.column("parameter_grad_norm_after_clip"), after, rtol=1e-5)


def test_sparse_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 3, sparse=True), nn.Flatten(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer, every=1)
    loss = model(torch.tensor([[1, 1], [7, 1]])).square().sum()
    loss.backward()
    expected = model[0].weight.grad.to_dense().double().norm().item()
    watched.monitor.step(loss)
    model[0].weight.grad.mul_(0.5)
    optimizer.step()
    watched.monitor.close()
    assert watched.column("parameter_grad_norm_before_clip")[0, 0] == pytest.approx(expected)
    assert watched.column("parameter_grad_norm_after_clip")[0, 0] == pytest.approx(expected / 2)


@pytest.mark.parametrize("kind", ["LBFGS", "Lightning's order"])
def test_a_closure_that_runs_the_backward_pass_within_the_update(kind):
    torch.manual_seed(0)
    model, target = nn.Linear(4, 1), torch.randn(BATCH, 1)
    inputs = torch.randn(BATCH, 4)
    lbfgs = kind == "LBFGS"
    optimizer = (
        torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)
        if lbfgs
        else torch.optim.SGD(model.parameters(), lr=0.1)
    )
    watched = Watched(model, optimizer, every=1)
    first = []

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), target)
        loss.backward()
        watched.monitor.step(loss)
        calls.append((loss.item(), exact_norms(model, watched.monitor)))
        if not lbfgs:
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        return loss

    for _ in range(3):
        calls = []
        optimizer.step(closure)
        assert len(calls) == 1 or lbfgs
        first.append(calls[0])
    watched.monitor.close()
    assert watched.column("step").tolist() == [1, 2, 3]
    np.testing.assert_allclose(watched.column("loss"), [loss for loss, _ in first], rtol=1e-6)
    np.testing.assert_allclose(
        watched.column("parameter_grad_norm_before_clip"), [norms for _, norms in first], rtol=1e-5
    )
    if not lbfgs:
        clipped = np.linalg.norm(watched.column("parameter_grad_norm_after_clip"), axis=1)
        np.testing.assert_allclose(clipped, 0.01, rtol=1e-3)
    assert all(record.update_ratio[0] > 0 for record in watched.layer_records)


def test_an_optimizer_whose_step_calls_its_parents_is_one_update():
    class Twice(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)

    model = nn.Linear(3, 2)
    torch.optim.SGD(model.parameters(), lr=0.1)  # hooks come with the first of a class
    optimizer = Twice(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    for _ in range(3):
        one_step(model, optimizer, watched, torch.ones(2, 3))
    watched.monitor.close()
    assert watched.column("step").tolist() == [1, 2, 3]


def test_a_wrapped_optimizer_is_watched_within():
    """As Accelerate wraps them: an Optimizer by class, whose constructor never ran."""

    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer
            self.calls = 0

        @property
        def param_groups(self):
            return self.optimizer.param_groups

        def step(self, closure=None):
            self.calls += 1
            if self.calls % 2 == 0:  # it accumulates two gradients to an update
                self.optimizer.step(closure)

    model = nn.Linear(3, 2)
    optimizer = Wrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    watched = Watched(model, optimizer)
    sums = []
    for _ in range(4):
        loss = model(torch.ones(2, 3)).square().mean()
        loss.backward()
        watched.monitor.step(loss)
        sums.append(exact_norms(model, watched.monitor))
        optimizer.step()
        if optimizer.calls % 2 == 0:
            model.zero_grad()
    watched.monitor.close()
    assert watched.column("step").tolist() == [1, 2]
    np.testing.assert_allclose(
        watched.column("parameter_grad_norm_before_clip"), sums[1::2], rtol=1e-5
    )
    assert watched.monitor.skipped == 0


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize(
    ("place", "phase", "layer"),
    [("forward", "forward", "2"), ("loss", "loss", None), ("backward", "backward", "2")],
)
def test_the_first_value_that_is_not_finite_is_placed(place, phase, layer, stop):
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer, stop_on_fault=stop)
    bad = {"now": False}

    def break_output(module, inputs, output):
        return output * math.nan if bad["now"] else output

    def break_gradient(gradient):
        return gradient * math.inf if bad["now"] else gradient

    if place == "forward":
        model[2].register_forward_hook(break_output)
    for step in range(1, 6):
        bad["now"] = step == 3
        optimizer.zero_grad()
        hidden = model[1](model[0](torch.ones(2, 4)))
        if place == "backward" and bad["now"]:
            model[2].weight.register_hook(break_gradient)
        loss = model(torch.ones(2, 4)).square().mean() + 0 * hidden.sum()
        if place == "loss" and bad["now"]:
            loss = loss / 0
        loss.backward()
        weights = model[3].weight.detach().clone()
        if bad["now"] and stop:
            with pytest.raises(FloatingPointError, match="At step 3"):
                watched.monitor.step(loss)
            break
        watched.monitor.step(loss)
        optimizer.step()
    watched.monitor.close()
    (fault,) = watched.faults
    assert (fault.step, fault.phase, fault.layer) == (3, phase, layer)
    # Nothing that is not finite is left out of the record, as some tools' plots do.
    row = watched.column("step").tolist().index(3)
    assert not math.isfinite(
        watched.column("loss")[row]
        + watched.column("clip_coefficient")[row]
        + watched.column("grad_norm_before_clip")[row]
    )
    assert len(watched.column("step")) == (3 if stop else 5)
    if stop:
        assert torch.equal(model[3].weight, weights)


def test_only_the_broken_values_are_broken_on_record():
    """One NaN among many finite numbers is kept as it is, and its neighbours as they are."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    watched = Watched(model, optimizer)
    loss = model(torch.ones(2, 3)).sum()
    loss.backward()
    model[0].bias.grad[1] = math.nan
    model[1].weight.grad[0, 0] = math.inf
    watched.monitor.step(loss)
    optimizer.step()
    watched.monitor.close()
    weight, bias, output, output_bias = watched.column("parameter_grad_norm_before_clip")[0]
    assert math.isnan(bias) and output == math.inf
    assert math.isfinite(weight) and math.isfinite(output_bias)


def test_copies_and_saved_models_are_not_watched(tmp_path):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for copied in (averaged, loaded, copy.deepcopy(model)):
        copied(torch.full((1, 3), math.nan))
    one_step(model, optimizer, watched, torch.ones(2, 3))
    watched.monitor.close()
    assert watched.faults == []
    assert len(watched.layer_records) == 1


def test_every_hook_is_gone_after_close():
    model = Attention()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer, every=1)
    one_step(model, optimizer, watched, torch.randn(BATCH, 3, 8))
    model(torch.randn(BATCH, 3, 8))  # the next step's probe has begun
    assert any(module._forward_pre_hooks for module in model.modules())
    watched.monitor.close()
    watched.monitor.close()
    assert not any(
        module._forward_pre_hooks or module._forward_hooks or module._backward_hooks
        for module in model.modules()
    )
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_the_batch_is_let_go_after_the_step():
    import weakref

    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    inputs = torch.ones(2, 3)
    gone = weakref.ref(inputs)
    one_step(model, optimizer, watched, inputs)
    del inputs
    assert gone() is None


def test_gradients_are_let_go_before_another_forward_pass_and_compared_all_the_same():
    """If updates are left out, two sets of gradients must not be in memory at the same time."""
    import weakref

    torch.manual_seed(1)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    for _ in range(100):  # this many are measured twice in any case
        one_step(model, optimizer, watched, torch.randn(4, 3))
    loss = model(torch.randn(4, 3)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    watched.monitor.step(loss)
    before = exact_norms(model, watched.monitor)
    gone = weakref.ref(model.weight.grad)
    held = model.weight.grad.data_ptr()
    assert gone() is not None
    replacement = model.weight.grad * 3
    model.weight.grad = None
    assert gone() is not None, "the monitor has it still"
    model(torch.randn(4, 3))
    assert gone() is None
    model.weight.grad = replacement
    assert replacement.data_ptr() != held
    after = exact_norms(model, watched.monitor)
    optimizer.step()
    watched.monitor.close()
    recorded = watched.column("parameter_grad_norm_before_clip")[-1]
    np.testing.assert_allclose(recorded, before, rtol=1e-6)
    recorded = watched.column("parameter_grad_norm_after_clip")[-1]
    np.testing.assert_allclose(recorded, after, rtol=1e-6)
    assert after[0] == pytest.approx(3 * before[0])


def test_a_closure_does_not_keep_the_gradients_of_its_first_call():
    import weakref

    model = nn.Linear(3, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    watched = Watched(model, optimizer)
    alive, first = [], []

    def closure():
        alive.extend(one() is not None for one in first)
        optimizer.zero_grad()
        loss = model(torch.eye(3)).square().mean()
        loss.backward()
        watched.monitor.step(loss)
        if not first:
            first.append(weakref.ref(model.weight.grad))
        return loss

    optimizer.step(closure)
    assert len(alive) >= 2
    assert not any(alive[1:])  # the forward pass of the second call has let go
    watched.monitor.close()


class TestRefusals:
    def refused(self, match, model, optimizer, **options):
        hooks = len(model._forward_pre_hooks)  # a lazy layer has its own
        with pytest.raises(UserError, match=match) as error:
            Watched(model, optimizer, **options)
        assert len(model._forward_pre_hooks) == hooks
        return error.value

    def test_models_without_whole_gradients(self):
        sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
        self.refused("no parameters", nn.ReLU(), sgd)
        assert "batch" in self.refused("lazy", nn.LazyLinear(3), sgd).hint
        split = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta"))
        self.refused("several devices", split, sgd)
        sharded = nn.Sequential(type("FullyShardedDataParallel", (nn.Linear,), {})(2, 2))
        assert "fully_shard" in self.refused("flat pieces", sharded, sgd).hint

    def test_optimizers_that_are_not_the_models_or_none(self):
        model = nn.Linear(2, 2)
        other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
        self.refused("none of the model's parameters", model, other)

        class Own:
            param_groups = ({"params": list(model.parameters())},)

        assert "torch.optim.Optimizer" in self.refused("no step hooks", model, Own()).hint

    def test_a_scaler_that_does_not_tell(self):
        class Own:
            def is_enabled(self):
                return True

        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        assert "unscale_" in self.refused("does not tell", model, optimizer, scaler=Own()).hint
        assert not optimizer._optimizer_step_pre_hooks

    def test_calls_in_a_wrong_order(self):
        model = nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watched = Watched(model, optimizer)
        with pytest.raises(UserError, match="No parameter of the model has a gradient") as error:
            watched.monitor.step(1.0)
        assert "after loss.backward()" in error.value.hint
        model(torch.ones(2, 3)).sum().backward()
        with pytest.raises(UserError, match=r"shape \(2, 3\)"):
            watched.monitor.step(torch.ones(2, 3))
        with pytest.raises(UserError, match="before the first monitor"):
            optimizer.step()


def test_data_parallel_is_looked_through():
    inner = nn.Linear(3, 2)
    model = nn.DataParallel(inner)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    loss = model(torch.ones(2, 3)).sum()
    loss.backward()
    watched.monitor.step(loss)
    optimizer.step()
    watched.monitor.close()
    assert watched.monitor.layers == find_layers(inner)
    assert names(watched.monitor) == ["weight", "bias"]


def test_data_parallel_on_several_devices_is_refused():
    model = nn.DataParallel(nn.Linear(3, 2))
    model.device_ids = [0, 1]  # as on a machine with two
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match="copies of the model in threads") as error:
        Watched(model, optimizer)
    assert "DistributedDataParallel" in error.value.hint


def test_a_distributed_model_is_looked_through(tmp_path):
    from torch import distributed

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own doing
            model = nn.parallel.DistributedDataParallel(frozen())
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            watched = Watched(model, optimizer, every=1)
            rows = [
                one_step(model.module, optimizer, watched, torch.randn(BATCH, 6)) for _ in range(2)
            ]
            watched.monitor.close()
    finally:
        distributed.destroy_process_group()
    assert names(watched.monitor)[0] == "0.weight"
    np.testing.assert_allclose(
        watched.column("parameter_grad_norm_before_clip"), [row[0] for row in rows], rtol=1e-5
    )


def test_complex_parameters():
    model = nn.Linear(3, 2, bias=False, dtype=torch.complex64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watched = Watched(model, optimizer)
    loss = model(torch.ones(2, 3, dtype=torch.complex64)).abs().sum()
    loss.backward()
    expected = torch.view_as_real(model.weight.grad).double().norm().item()
    watched.monitor.step(loss)
    optimizer.step()
    watched.monitor.close()
    assert watched.column("grad_norm_before_clip")[0] == pytest.approx(expected)
