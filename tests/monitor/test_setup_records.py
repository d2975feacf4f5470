"""What a loop of somebody's own is set up to do, as observed in its first steps."""

from __future__ import annotations

import copy
import gc
import io
import math
import pickle
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradcli.gradients.layers import find_layers
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.records import LayerRecord, SetupRecord, layers_in_call_order

BATCH, CLASSES = 8, 4


def watch(model, optimizer, *, every=1, **options):
    """Return a monitor, and the setup records that it will emit."""
    records = []

    def emit(record):
        if isinstance(record, SetupRecord):
            records.append(record)

    return LoopMonitor(model, optimizer, emit=emit, every=every, **options), records


def net():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, CLASSES))


def batch():
    return torch.randn(BATCH, 6), torch.randint(CLASSES, (BATCH,))


def train(model, *, steps=1, optimizer=None, loss_of=None, draw=batch, every=1):
    """Train as a careful loop does; return the setup records."""
    torch.manual_seed(0)
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer, every=every)
    for _ in range(steps):
        inputs, labels = draw()
        loss = (loss_of or F.cross_entropy)(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
    monitor.close()
    return records


def hooks_of(model):
    """Count all hooks of modules and parameters."""
    of_modules = sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()
    )
    of_parameters = sum(
        len(parameter._backward_hooks or ()) + len(parameter._post_accumulate_grad_hooks or ())
        for parameter in model.parameters()
    )
    return of_modules + of_parameters


# When.


@pytest.mark.parametrize(
    ("every", "observed", "measured"),
    [
        (0, [1, 2, 3], []),
        (4, [1, 2, 3, 5, 9, 10, 13], [1, 2, 3, 5, 9, 10, 13]),
        (100, [1, 2, 3, 5, 10], [1, 2, 3, 5, 10]),
    ],
)
def test_the_first_updates_are_observed_and_then_every_nth(every, observed, measured):
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    records = []
    monitor = LoopMonitor(model, optimizer, emit=records.append, every=every)
    root_alone, hooked = 1, []
    for _ in range(14):
        hooked.append(hooks_of(model) > root_alone)
        inputs, labels = batch()
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
    monitor.close()
    assert [one.step + 1 for one in records if isinstance(one, SetupRecord)] == observed
    assert [one.step for one in records if isinstance(one, LayerRecord)] == measured
    assert hooked == [update in observed for update in range(1, 15)]
    assert hooks_of(model) == 0


# The optimizer.


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, weight_decay=0.01),
            {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.01},
        ),
        (
            lambda p: torch.optim.Adam(p, betas=(0.7, 0.9), eps=1e-5),
            {"learning_rate": 1e-3, "momentum": 0.7, "second_momentum": 0.9, "epsilon": 1e-5}
            | {"weight_decay": 0.0},
        ),
        (
            lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.25)),
            {"learning_rate": 0.25, "momentum": 0.9, "second_momentum": 0.999, "epsilon": 1e-8}
            | {"weight_decay": 0.01, "decoupled": True},
        ),
        (
            lambda p: torch.optim.RMSprop(p, alpha=0.95),
            {"learning_rate": 0.01, "momentum": 0.0, "second_momentum": 0.95, "epsilon": 1e-8}
            | {"weight_decay": 0.0},
        ),
        (
            lambda p: torch.optim.Adagrad(p, eps=0.5),
            {"learning_rate": 0.01, "epsilon": 0.5, "weight_decay": 0.0},
        ),
    ],
)
def test_the_settings_of_each_optimizer(make, expected):
    model = net()
    (record,) = train(model, optimizer=make(model.parameters()))
    (group,) = record.groups
    assert group.parameters == (0, 1, 2, 3)
    names = ("learning_rate", "weight_decay", "momentum", "second_momentum", "epsilon")
    assert {name: getattr(group, name) for name in names} == pytest.approx(
        {name: expected.get(name, math.nan) for name in names}, nan_ok=True
    )
    assert group.decoupled is expected.get("decoupled", False)


def test_groups_hold_parameters_by_identity_and_leave_out_what_is_not_the_models():
    model = net()
    optimizer = torch.optim.SGD(
        [
            {"params": [model[2].bias, nn.Parameter(torch.ones(2))], "lr": 0.0},
            {"params": [model[0].weight], "lr": 0.3},
        ],
        lr=0.1,
    )
    model[2] = nn.Linear(5, CLASSES)  # replaced after the optimizer was made
    model[0].bias.requires_grad_(False)
    (record,) = train(model, optimizer=optimizer)
    assert [(group.parameters, group.learning_rate) for group in record.groups] == [
        ((), 0.0),
        ((0,), 0.3),
    ]
    assert record.requires_grad == (True, False, True, True)


def test_the_learning_rate_is_that_of_the_update():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.4)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    monitor, records = watch(model, optimizer)
    for _ in range(3):
        loss = model(torch.randn(BATCH, 6)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        schedule.step()
    assert [record.groups[0].learning_rate for record in records] == [0.4, 0.2, 0.1]


# Gradients that are not cleared.


def step_with(clear):
    """Return a loop's body that clears gradients at one of its places, or nowhere."""

    def body(model, optimizer, monitor):
        if clear == "first":
            optimizer.zero_grad()
        inputs, labels = batch()
        loss = F.cross_entropy(model(inputs), labels)
        if clear == "before backward":
            optimizer.zero_grad()
        if clear == "zeros":
            optimizer.zero_grad(set_to_none=False)
        if clear == "by the model":
            model.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        if clear == "last":
            optimizer.zero_grad()

    return body


def accumulating(clear):
    def body(model, optimizer, monitor):
        for _ in range(3):
            inputs, labels = batch()
            loss = F.cross_entropy(model(inputs), labels) / 3
            loss.backward()
            if clear == "measured each":
                monitor.step(loss)
        monitor.step(loss)
        optimizer.step()
        if clear:
            optimizer.zero_grad()

    return body


def closures(clear):
    def body(model, optimizer, monitor):
        inputs, labels = batch()

        def closure():
            if clear:
                optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels)
            loss.backward()
            monitor.step(loss)
            return loss

        optimizer.step(closure)

    return body


def adversary(clear):
    """The discriminator's part of a GAN, after a generator's pass that leaves gradients in it."""

    def body(model, optimizer, monitor):
        model(torch.randn(BATCH, 6, requires_grad=True)).mean().backward()
        if clear:
            optimizer.zero_grad()
        loss = model(torch.randn(BATCH, 6)).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()

    return body


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize(
    ("body", "make", "forgotten"),
    [
        *[
            (step_with(clear), sgd, False)
            for clear in ("first", "before backward", "zeros", "by the model", "last")
        ],
        (step_with("never"), sgd, True),
        (step_with("never"), torch.optim.Adam, True),
        (accumulating(True), sgd, False),
        (accumulating("measured each"), sgd, False),
        (accumulating(False), sgd, True),
        (closures(True), torch.optim.LBFGS, False),
        (closures(True), sgd, False),
        (closures(False), sgd, True),
        (adversary(True), sgd, False),
        (adversary(False), sgd, True),
    ],
)
def test_whether_gradients_are_cleared_between_updates(body, make, forgotten):
    torch.manual_seed(0)
    model = net()
    optimizer = make(model.parameters())
    monitor, records = watch(model, optimizer, every=100)
    for _ in range(6):
        body(model, optimizer, monitor)
    monitor.close()
    assert [one.step for one in records] == [0, 1, 2, 4]
    assert [one.updates_watched for one in records] == [0, 1, 2, 3]
    assert [one.not_cleared for one in records] == ([0, 1, 2, 3] if forgotten else [0] * 4)


def test_two_optimizers_of_one_model_each_clear_their_own():
    torch.manual_seed(0)
    model = net()
    first, second = (torch.optim.SGD(model[at].parameters(), lr=0.1) for at in (0, 2))
    monitor, records = watch(model, first)
    for _ in range(4):
        for optimizer in (first, second):
            inputs, labels = batch()
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()  # what the other one holds keeps its gradients
            loss.backward()
            if optimizer is first:
                monitor.step(loss)
            optimizer.step()
    assert records[-1].updates_watched == 3
    assert records[-1].not_cleared == 0
    assert records[-1].groups[0].parameters == (0, 1)


@pytest.mark.parametrize("clear", [True, False])
def test_updates_that_a_scaler_skips_are_not_observed(clear):
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    monitor, records = watch(model, optimizer, scaler=scaler)
    for number in range(5):
        inputs, labels = batch()
        outputs = model(inputs)
        loss = F.cross_entropy(outputs, labels)
        if clear:
            optimizer.zero_grad()
        if number == 1:
            model[0].weight.grad = torch.full_like(model[0].weight, math.inf)
        scaler.scale(loss).backward()
        monitor.step(loss)
        scaler.step(optimizer)
        scaler.update()
        if number == 1:
            optimizer.zero_grad()
    assert monitor.skipped == 1
    assert [one.step for one in records] == [0, 1, 2, 3]
    assert records[-1].not_cleared == (0 if clear else 2)  # once, the loop cleared after all
    probabilities = outputs.detach().softmax(1) - F.one_hot(labels, CLASSES)
    expected = (probabilities / BATCH).norm().item() * math.sqrt(BATCH)
    assert records[-1].output_grad_norm == pytest.approx(expected)


# Modes.


class Modes(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(6, 5)
        self.norm = nn.BatchNorm1d(5)
        self.drop = nn.Dropout(0.5)
        self.never = nn.Dropout(0.0)
        self.plain = nn.BatchNorm1d(5, track_running_stats=False)
        self.scaled = nn.LayerNorm(5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, inputs):
        features = self.never(self.drop(F.relu(self.norm(self.stem(inputs)), inplace=True)))
        return self.head(self.scaled(self.plain(features)))


def test_modules_that_train_in_eval_mode():
    assert train(Modes())[0].eval_mode == ()
    (record,) = train(Modes().eval())
    assert record.eval_mode == ("drop", "norm")  # as the backward pass meets them
    assert record.unmade_statistics == ("norm",)
    model = Modes()
    train(model)
    (record,) = train(model.eval())
    assert record.eval_mode == ("drop", "norm")
    assert record.unmade_statistics == ()


def test_an_evaluation_with_gradients_is_not_a_training_in_eval_mode():
    torch.manual_seed(0)
    model = Modes()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(2):
        model.eval()
        F.cross_entropy(model(batch()[0]), batch()[1])
        model.train()
        inputs, labels = batch()
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        model.eval()(3 + batch()[0])  # with gradients that nobody wants
        model.train()
    assert [one.eval_mode for one in records] == [(), ()]
    assert records[0].inputs.mean == pytest.approx(inputs.mean().item(), abs=1)


def test_a_frozen_batch_norm_before_all_trained_layers_is_out_of_the_gradients_way():
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, CLASSES))
    model[0].requires_grad_(False).eval()
    assert train(model)[0].eval_mode == ()


def test_recurrent_dropout_and_attention_have_a_mode_too():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(6, 4, num_layers=2, dropout=0.1, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)

        def forward(self, inputs):
            features = self.rnn(inputs[:, None])[0]
            return self.attention(features, features, features)[0][:, 0]

    assert set(train(Both().eval())[0].eval_mode) == {"rnn", "attention"}


# Inputs, outputs and the loss.


def test_the_range_of_inputs_and_outputs():
    seen = {}
    model = net()
    model.register_forward_hook(lambda _, args, output: seen.update(x=args[0], y=output.detach()))
    (record,) = train(model)
    for name, found in (("x", record.inputs), ("y", record.outputs)):
        value = seen[name].double()
        assert found.shape == tuple(value.shape)
        assert not found.whole
        moments = (value.mean(), value.std(correction=0), value.min(), value.max())
        assert (found.mean, found.std, found.low, found.high) == pytest.approx(
            [one.item() for one in moments]
        )
    sums = seen["y"].double().sum(1)
    assert record.output_sums == pytest.approx((sums.min().item(), sums.max().item()), abs=1e-6)


def test_word_indices_are_whole():
    model = nn.Sequential(nn.Embedding(9, 3), nn.Flatten(), nn.Linear(6, CLASSES))
    (record,) = train(model, draw=lambda: (torch.randint(9, (BATCH, 2)), batch()[1]))
    assert record.inputs.whole
    assert 0 <= record.inputs.low <= record.inputs.high <= 8
    assert record.call_order == (0, 1)


@pytest.mark.parametrize(
    ("loss_of", "path"),
    [
        (F.cross_entropy, ("NllLoss", "LogSoftmax", "Addmm")),
        (
            lambda y, t: F.cross_entropy(y.softmax(-1), t),
            ("NllLoss", "LogSoftmax", "Softmax", "Addmm"),
        ),
        (
            lambda y, t: 1e-8 * F.cross_entropy(y[:, None].squeeze(1), t),
            ("Mul", "NllLoss", "LogSoftmax", "Addmm"),
        ),
        (
            lambda y, t: F.binary_cross_entropy_with_logits(y.sigmoid()[:, 0], t.clamp(max=1.0)),
            ("BinaryCrossEntropyWithLogits", "Sigmoid", "Addmm"),
        ),
        (lambda y, t: F.cross_entropy(y, t) + y.square().mean(), ("Add",)),
        (lambda y, t: F.mse_loss(y, y.detach() + 1), ("MseLoss", "Addmm")),
    ],
)
def test_the_path_from_the_loss(loss_of, path):
    assert train(net(), loss_of=loss_of)[0].loss_path == path


@pytest.mark.parametrize(
    "loss_of",
    [
        F.cross_entropy,
        lambda y, t: F.cross_entropy(y, t, label_smoothing=0.1, reduction="sum"),
        lambda y, t: F.nll_loss(y.log_softmax(1), t),
        lambda y, t: F.binary_cross_entropy_with_logits(y, F.one_hot(t, CLASSES).float()),
    ],
)
def test_the_gradient_of_the_output_shows_the_commonest_label(loss_of):
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    expected = []
    for common in range(3):
        inputs, labels = batch()
        labels[common:] = common
        optimizer.zero_grad()
        loss = loss_of(model(inputs), labels)
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        expected.append((common, (labels == common).float().mean().item()))
    assert [one.usual_target for one in records] == [pytest.approx(one) for one in expected]


@pytest.mark.parametrize("factor", [0.0, math.nan])
def test_a_gradient_that_raises_no_class_shows_no_label(factor):
    record = train(net(), loss_of=lambda y, t: factor * F.cross_entropy(y, t))[0]
    assert record.usual_target[0] == -1 and math.isnan(record.usual_target[1])
    assert record.targets_seen == 0


def test_labels_of_which_the_model_is_certain_are_not_seen():
    torch.manual_seed(0)
    certain = torch.arange(BATCH) < BATCH // 2

    def loss_of(outputs, labels):
        far = 1e4 * F.one_hot(torch.ones_like(labels), CLASSES) * certain[:, None]
        return F.cross_entropy(outputs + far, torch.ones_like(labels))

    record = train(net(), loss_of=loss_of)[0]
    assert record.usual_target == (1, 1.0)
    assert record.targets_seen == BATCH // 2


def test_an_output_without_classes_has_no_commonest_label():
    model = nn.Sequential(nn.Linear(6, 1), nn.Flatten(0))
    label, share = train(model, loss_of=lambda y, t: y.square().mean())[0].usual_target
    assert label == -1 and math.isnan(share)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_gradient_of_the_output_shows_how_a_loss_is_scaled(scale, parts):
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-12)
    monitor, records = watch(model, optimizer)
    for _ in range(parts):
        inputs, labels = batch()
        outputs = model(inputs)
        loss = scale * F.cross_entropy(outputs, labels)
        loss.backward()
    monitor.step(loss)
    optimizer.step()
    gradient = scale * (outputs.detach().softmax(1) - F.one_hot(labels, CLASSES)) / BATCH
    expected = gradient.norm().item() * math.sqrt(BATCH)
    assert records[0].output_grad_norm == pytest.approx(expected)
    assert 0.3 < records[0].output_grad_norm / scale < 1.5


def test_a_loss_without_a_graph_has_no_path():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    loss = model(torch.ones(BATCH, 6)).square().mean()
    loss.backward()
    monitor.step(loss.item())
    optimizer.step()
    assert records[0].loss_path == ()
    assert records[0].single_path is None
    assert records[0].output_grad_norm > 0


# The order of calls.


class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, CLASSES)
        self.inner = nn.Linear(5, 5)
        self.stem = nn.Linear(6, 5)

    def forward(self, inputs):
        return self.head(F.silu(self.inner(torch.tanh(self.stem(inputs)))))


class Residual(HeadFirst):
    def forward(self, inputs):
        features = self.stem(inputs)
        return self.head(features + self.inner(features))


class Shared(HeadFirst):
    def forward(self, inputs):
        return self.head(torch.tanh(self.inner(self.inner(self.stem(inputs)))))


class Parallel(HeadFirst):
    def __init__(self):
        super().__init__()
        self.other = nn.Linear(6, 5)

    def forward(self, inputs):
        return self.head(self.stem(inputs) * self.other(inputs)) + 0 * self.inner.weight.sum()


class Gated(HeadFirst):
    """Two uses of one value between layers: still one way through the layers."""

    def forward(self, inputs):
        features = self.inner(self.stem(inputs))
        return self.head(features * torch.sigmoid(features) + features)


class Recurrent(HeadFirst):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(5, 5, batch_first=True)

    def forward(self, inputs):
        _, (state, _) = self.rnn(self.stem(inputs)[:, None].expand(-1, 3, -1))
        return self.head(state[-1])


class Checkpointed(HeadFirst):
    def __init__(self, reentrant):
        super().__init__()
        self.reentrant = reentrant

    def forward(self, inputs):
        features = checkpoint(self.inner, self.stem(inputs), use_reentrant=self.reentrant)
        return self.head(features)


@pytest.mark.parametrize(
    ("make", "order", "calls", "single"),
    [
        (HeadFirst, (2, 1, 0), (1, 1, 1), True),
        (Gated, (2, 1, 0), (1, 1, 1), True),
        (Residual, (2, 1, 0), (1, 1, 1), False),
        (Shared, (2, 1, 0), (1, 2, 1), False),
        (Parallel, (2, 3, 0), (1, 0, 1, 1), False),
        (Recurrent, (2, 3, 0), (1, 0, 1, 1), True),
        (lambda: Checkpointed(False), (2, 1, 0), (1, 1, 1), True),
        (lambda: Checkpointed(True), (2, 1, 0), (1, 1, 1), None),
        (nn.Linear, (0,), (1,), True),
    ],
)
def test_the_order_of_calls(make, order, calls, single):
    model = make(6, CLASSES) if make is nn.Linear else make()
    (record,) = train(model)
    assert (record.call_order, record.calls, record.single_path) == (order, calls, single)


def test_a_loop_that_calls_the_layers_itself_is_observed_by_them():
    torch.manual_seed(0)
    model = HeadFirst()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(2):
        model(batch()[0])  # an evaluation with gradients, of another batch
        inputs, labels = 3 + batch()[0], batch()[1]
        outputs = model.forward(inputs)
        loss = F.cross_entropy(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        gradient = (outputs.detach().softmax(1) - F.one_hot(labels, CLASSES)) / BATCH
        expected = gradient.norm().item() * math.sqrt(BATCH)
        record = records[-1]
        assert (record.call_order, record.calls) == ((2, 1, 0), (1, 1, 1))
        assert record.single_path is True
        assert record.inputs.mean == pytest.approx(inputs.mean().item())
        assert record.outputs.mean == pytest.approx(outputs.mean().item())
        assert record.output_grad_norm == pytest.approx(expected)


def test_an_accumulation_calls_each_layer_once_per_pass():
    torch.manual_seed(0)
    for forward in (Shared.forward, HeadFirst.forward):
        model = HeadFirst()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor, records = watch(model, optimizer)
        for _ in range(3):
            loss = forward(model, batch()[0]).square().mean()
            loss.backward()
        monitor.step(loss)
        optimizer.step()
        inner = 2 if forward is Shared.forward else 1
        assert records[0].calls == (1, inner, 1)
        assert records[0].single_path is (inner == 1)


def test_a_frozen_base_is_in_the_order_but_not_on_the_gradients_way():
    model = HeadFirst()
    model.stem.requires_grad_(False)
    (record,) = train(model)
    assert record.call_order == (2, 1, 0)
    assert record.single_path is True


def test_two_passes_of_one_loss_are_one_path_and_one_call_each():
    torch.manual_seed(0)
    model = HeadFirst()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    loss = model(batch()[0]).square().mean() + model(batch()[0]).exp().mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].calls == (1, 1, 1)
    assert records[0].single_path is True


def test_layers_that_are_not_called_follow_the_one_registered_before_them():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, CLASSES)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.stem = nn.Linear(6, 6)

        def forward(self, inputs):
            features = self.stem(inputs)[:, None]
            return self.head(self.attention(features, features, features)[0][:, 0])

    model = Attention()
    layers = find_layers(model)
    assert [one.name for one in layers] == ["head", "attention", "attention.out_proj", "stem"]
    assert layers_in_call_order(layers, None) == (0, 1, 2, 3)
    (record,) = train(model)
    assert record.call_order == (3, 1, 0)
    assert layers_in_call_order(layers, record) == (3, 1, 2, 0)


def test_a_layer_that_is_never_called_comes_first_if_it_is_registered_first():
    class Unused(HeadFirst):
        def forward(self, inputs):
            return self.inner(self.stem(inputs))

    model = Unused()
    (record,) = train(model, draw=lambda: (batch()[0], torch.zeros(BATCH).long()))
    assert record.call_order == (2, 1)
    layers = find_layers(model)
    assert layers_in_call_order(layers, record) == (0, 2, 1)


# Any loop, any model.


def random_and_weights(model, *, monitored, draw, forward, steps=4):
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    monitor, records = watch(model, optimizer) if monitored else (None, [])
    for _ in range(steps):
        loss = forward(model, draw())
        optimizer.zero_grad()
        loss.backward()
        if monitor is not None:
            monitor.step(loss)
        optimizer.step()
    return model.state_dict(), torch.get_rng_state(), records


class Keywords(HeadFirst):
    """Takes keywords and returns a mapping, as models of Hugging Face do."""

    def forward(self, *, inputs, mask=None, label=None):
        outputs = super().forward(inputs)
        return {"loss": outputs.square().mean(), "logits": outputs, "past": [None, (outputs,)]}


class Complex(HeadFirst):
    def forward(self, inputs):
        return super().forward(torch.view_as_real(inputs).flatten(1))


class Sparse(HeadFirst):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 6, sparse=True)

    def forward(self, inputs):
        return super().forward(self.words(inputs))


LOOPS = {
    "modes": (Modes, lambda: torch.randn(BATCH, 6), lambda m, x: m(x).square().mean()),
    "keywords": (Keywords, lambda: torch.randn(BATCH, 6), lambda m, x: m(inputs=x)["loss"]),
    "no arguments of a tensor": (
        lambda: nn.ParameterList([torch.ones(3)]),
        lambda: 2.0,
        lambda m, x: (m[0] * x).square().sum(),
    ),
    "complex": (
        Complex,
        lambda: torch.randn(BATCH, 3, dtype=torch.complex64),
        lambda m, x: m(x).square().mean(),
    ),
    "no examples": (net, lambda: torch.randn(0, 6), lambda m, x: m(x).square().sum()),
    "half": (lambda: net().bfloat16(), lambda: torch.randn(BATCH, 6).bfloat16(),
             lambda m, x: m(x).float().square().mean()),
    "per example": (
        net,
        lambda: torch.randn(BATCH, 6),
        lambda m, x: torch.func.vmap(m)(x).square().mean(),
    ),
    "functional": (
        net,
        lambda: torch.randn(BATCH, 6),
        lambda m, x: torch.func.functional_call(m, dict(m.named_parameters()), x).square().mean(),
    ),
    "jacobian": (
        net,
        lambda: torch.randn(BATCH, 6),
        lambda m, x: torch.func.jacrev(m)(x[0]).square().mean() + m(x).square().mean(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOOPS)
def test_any_loop_trains_as_without_a_monitor(kind):
    make, draw, forward = LOOPS[kind]
    torch.manual_seed(0)
    model = make()
    twin = copy.deepcopy(model)
    trained = [parameter.requires_grad for parameter in model.parameters()]
    plain, state, _ = random_and_weights(twin, monitored=False, draw=draw, forward=forward)
    watched, same, records = random_and_weights(model, monitored=True, draw=draw, forward=forward)
    assert torch.equal(state, same)
    for name, value in plain.items():
        assert torch.equal(value, watched[name]), name
    assert [parameter.requires_grad for parameter in model.parameters()] == trained
    assert len(records) == 4
    assert records[-1].groups[0].learning_rate == 0.01


def test_sparse_gradients_are_watched():
    torch.manual_seed(0)
    model = Sparse()
    optimizer = torch.optim.SGD(model.words.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    for _ in range(3):
        loss = model(torch.randint(7, (BATCH,))).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
    assert (records[-1].updates_watched, records[-1].not_cleared) == (2, 2)


def test_the_first_of_many_outputs_with_an_axis_is_the_output():
    torch.manual_seed(0)
    model = Keywords()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    loss = model(inputs=torch.randn(BATCH, 6))["loss"]
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].inputs.shape == (BATCH, 6)
    assert records[0].outputs.shape == (BATCH, CLASSES)
    assert records[0].output_grad_norm > 0


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_scripted_model_is_not_disturbed():
    torch.manual_seed(0)
    model = torch.jit.trace(net(), torch.ones(2, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    loss = model(torch.ones(BATCH, 6)).square().mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].groups[0].parameters == (0, 1, 2, 3)


def test_a_forward_pass_that_raises_leaves_the_next_one_observed():
    torch.manual_seed(0)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    with pytest.raises(RuntimeError, match="shapes"):
        model(torch.ones(BATCH, 5))
    loss = model(torch.ones(BATCH, 6)).square().mean()
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].inputs.shape == (BATCH, 6)
    assert records[0].calls == (1, 1)


def test_copies_of_an_observed_model_have_idle_hooks():
    torch.manual_seed(0)
    model = Modes()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ]
    inputs, labels = batch()
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    for twin in copies:
        twin.eval()(inputs).sum().backward()
    monitor.step(loss)
    optimizer.step()
    assert records[0].eval_mode == ()
    assert set(records[0].calls) == {1}


def test_nothing_of_a_step_is_kept_alive():
    torch.manual_seed(0)
    model = Modes()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, _ = watch(model, optimizer)
    kept = []
    model.scaled.register_forward_hook(lambda _, __, output: kept.append(weakref.ref(output)))
    gc.disable()
    try:
        loss = model(batch()[0]).square().mean()
        assert kept[0]() is not None
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        del loss
        assert kept[0]() is None
    finally:
        gc.enable()
    monitor.close()


def test_a_wrapped_model_is_observed_inside(tmp_path):
    torch.manual_seed(0)
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        model = HeadFirst()
        wrapped = nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
        monitor, records = watch(wrapped, optimizer)
        for number in range(4):
            loss = wrapped(batch()[0]).square().mean()
            if number != 2:
                optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)
            optimizer.step()
        monitor.close()
    finally:
        torch.distributed.destroy_process_group()
    assert records[0].call_order == (2, 1, 0)
    assert records[0].outputs.shape == (BATCH, CLASSES)
    assert [one.not_cleared for one in records] == [0, 0, 1, 1]


# The compiler of torch 2.15 looks at `.grad` of tensors that have none, and warns of itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_of_a_compiled_model_the_outside_is_observed():
    model = HeadFirst()
    compiled = torch.compile(model, backend="aot_eager")
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(compiled, optimizer)
    for _ in range(4):
        inputs, labels = batch()
        loss = F.cross_entropy(compiled(inputs).softmax(1), labels)
        loss.backward()
        monitor.step(loss)
        optimizer.step()
    monitor.close()
    assert records[0].call_order == ()
    assert records[0].inputs.shape == (BATCH, 6)
    assert records[0].output_grad_norm > 0
    assert records[0].loss_path[:3] == ("NllLoss", "LogSoftmax", "Softmax")
    assert (records[-1].updates_watched, records[-1].not_cleared) == (3, 3)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_model_that_is_compiled_afterwards_has_no_hooks_in_its_graph():
    torch.manual_seed(0)
    model, inputs = HeadFirst(), batch()[0]
    expected = model(inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor, records = watch(model, optimizer, every=100)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    for number in range(6):
        outputs = compiled(inputs)
        if not number:
            assert torch.equal(outputs, expected)
        loss = outputs.square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
    monitor.close()
    assert [one.step + 1 for one in records] == [1, 2, 3, 5]
    assert (records[-1].updates_watched, records[-1].not_cleared) == (3, 3)
