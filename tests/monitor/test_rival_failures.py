"""How tools of this kind go wrong, each failure as a test that we do not share it.

Grouped by what goes wrong. A docstring names the tool and, if there is one, the thread in
which its users found it; many of these are tested at length in the rooms that they belong to.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

import gradcli as gc
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.data.downloads import torchvision_mnist
from gradcli.engines import Job, LocalEngine
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients
from gradcli.inspection.run_summary import summarise_run
from gradcli.probes.measuring.activations import probe_signals
from gradcli.probes.measuring.gradient_noise import gradient_noise
from gradcli.runs import RunWriter, create_run_directory, list_runs, load_checkpoint, load_run
from gradcli.runs.files import write_json
from gradcli.views.compare.compare_view import QuietCompareView

BATCH, CLASSES = 16, 4


def mlp(*widths, activation=nn.ReLU, seed=0):
    torch.manual_seed(seed)
    layers = [
        layer
        for before, after in pairwise(widths)
        for layer in (nn.Linear(before, after), activation())
    ]
    return nn.Sequential(*layers[:-1])


def batches(count, make_inputs, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        (make_inputs(generator), torch.randint(CLASSES, (BATCH,), generator=generator))
        for _ in range(count)
    ]


def floats(*shape):
    return lambda generator: torch.randn(BATCH, *shape, generator=generator)


def train_loop(model, optimizer, data, *, monitor=None, loss_of=F.cross_entropy):
    """Somebody's own loop, with or without our monitor in it."""
    for inputs, labels in data:
        loss = loss_of(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        if monitor is not None:
            monitor.step(loss)
        optimizer.step()


def recorded(model, data, *, optimizer=None, loss_of=F.cross_entropy, **options):
    """The run that a monitor makes of such a loop."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    with gc.GradientMonitor(model, optimizer, **options) as monitor:
        train_loop(model, optimizer, data, monitor=monitor, loss_of=loss_of)
    return load_run(monitor.run)


def norms_by_autograd(model, inputs, labels, loss_of=F.cross_entropy):
    """Each layer's gradient norm, in float64, without `.grad`, hooks or anything of ours."""
    twin = copy.deepcopy(model).double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    named = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss_of(twin(inputs), labels), list(named.values()))
    squares = Counter()
    for name, gradient in zip(named, gradients, strict=True):
        squares[name.rpartition(".")[0] or "(model)"] += float(gradient.square().sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


# Which layer, which unit ------------------------------------------------------------------------


def test_every_layer_has_its_own_gradient_on_record(runs_dir):
    """trainpulse reads `p.grad` within backward hooks, where all but the last layer's is 0."""
    model = mlp(6, 9, 8, 7, CLASSES)
    ((inputs, labels),) = data = batches(1, floats(6))
    expected = norms_by_autograd(model, inputs, labels)
    columns = recorded(model, data).columns()
    assert len(expected) == 4
    for layer, norm in expected.items():
        assert columns[f"grad_norm_before_clip/{layer}"][0] == pytest.approx(norm, rel=1e-5)
        assert norm > 0


def test_a_vanishing_gradient_is_found_where_it_is_smallest():
    """graphyco names the layer with the largest gradient as the one where it vanishes."""
    inspection = gc.inspect(
        "data=mnist5k", "model=deep_mlp", "activation=sigmoid", "init=xavier", "examples=64"
    )
    (vanishing,) = [one for one in inspection.findings if one.code == "vanishing"]
    norms = {layer.name: layer.weight_grad_norm for layer in inspection.layers}
    assert norms[vanishing.layer] == min(norms.values())
    assert norms[vanishing.layer] < 1e-6 * max(norms.values())


def test_a_unit_is_dead_only_if_it_is_zero_for_every_example():
    """graphyco counts every zero activation as a dead unit: half of all in a healthy net."""
    model = mlp(6, 10, CLASSES)
    with torch.no_grad():
        model[0].bias[:3] = -100.0
    data = batches(3, floats(6))
    outputs = torch.cat([model[1](model[0](inputs)) for inputs, _ in data])
    assert (outputs == 0).float().mean() > 0.5
    assert (outputs == 0).all(dim=0).sum() == 3
    signal = probe_signals(model, data).layers[0]
    assert (signal.units, signal.dead_units) == (10, 3)


MOSTLY_DEAD = """
import math, torch
from torch import nn
from gradcli.models import MLP

class Sunk(nn.Linear):
    def forward(self, signal):
        return super().forward(signal) - 100.0 * (torch.arange(self.out_features) < 115)

class MostlyDead(MLP):
    def __init__(self, *, input_shape, classes, activation):
        super().__init__(
            input_shape=input_shape, classes=classes, activation=activation, hidden=(128,)
        )
        self.hidden1 = Sunk(math.prod(input_shape), 128)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a module `own_code` and options that name its classes; where to find them."""

    def write(source, **options):
        (tmp_path / "own_code.py").write_text(source)
        for option, text in options.items():
            path = tmp_path / "configs" / f"{option.replace('__', '/')}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {"config_dir": tmp_path / "configs", "allow_import": ["own_code"]}

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    sys.modules.pop("own_code", None)


def test_a_net_with_115_of_128_units_dead_is_not_healthy(own):
    """nn-htop calls it healthy."""
    paths = own(MOSTLY_DEAD, model__mostly_dead="_target_: own_code.MostlyDead\n")
    inspection = gc.inspect("data=mnist5k", "model=mostly_dead", "examples=256", **paths)
    (dead,) = [one for one in inspection.findings if one.code == "dead-units"]
    assert (dead.severity, dead.layer) == ("warning", "hidden1")
    assert inspection.verdict != "healthy"
    assert inspection.layers[0].dead_fraction >= 115 / 128


def test_the_verdict_does_not_depend_on_the_scale_of_the_loss(runs_dir):
    """nn-htop compares gradients with absolute numbers.

    A loss a million times smaller, with a learning rate as much larger, is the same training.
    """
    data = batches(12, floats(6))
    for activation in (nn.Tanh, nn.Sigmoid):
        found = []
        for scale in (1.0, 2.0**-20):
            model = mlp(6, *[8] * 8, CLASSES, activation=activation)
            run = recorded(
                model,
                data,
                optimizer=torch.optim.SGD(model.parameters(), lr=0.1 / scale),
                loss_of=lambda outputs, labels, scale=scale: (
                    scale * F.cross_entropy(outputs, labels)
                ),
            )
            found.append([(one.code, one.layer) for one in summarise_run(run).findings])
        assert found[0] == found[1]
        assert ("vanishing" in [code for code, _ in found[0]]) == (activation is nn.Sigmoid)


def test_an_ordinary_step_runs_no_hook_on_any_layer(runs_dir):
    """nn-htop's hooks on every module double the time per step."""

    class Counts(nn.Module):
        def forward(self, signal):
            self.hooks.append(
                sum(
                    len(hooks)
                    for module in self.whole[0].modules()
                    for hooks in (
                        *(module._forward_pre_hooks, module._forward_hooks),
                        *(module._backward_pre_hooks, module._backward_hooks),
                    )
                )
            )
            return signal

    model = nn.Sequential(nn.Linear(6, 6), Counts(), nn.Linear(6, 6), nn.Linear(6, CLASSES))
    model[1].whole, model[1].hooks = (model,), []
    recorded(model, batches(9, floats(6)), every=4)
    probed = [step in (0, 1, 2, 4, 8) for step in range(9)]
    assert [count > 1 for count in model[1].hooks] == probed
    assert min(model[1].hooks) == 1  # on the model itself, which notes what it was given


# Non-finite values -------------------------------------------------------------------------------


@pytest.fixture
def with_a_nan(runs_dir):
    """A run whose third of five losses is NaN."""
    model = mlp(6, 8, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with (
        pytest.warns(RuntimeWarning, match="At step 3"),
        gc.GradientMonitor(model, optimizer) as monitor,
    ):
        for step, one in enumerate(batches(5, floats(6)), start=1):
            factor = math.nan if step == 3 else 1.0
            train_loop(
                model,
                optimizer,
                [one],
                monitor=monitor,
                loss_of=lambda outputs, labels, factor=factor: (
                    factor * F.cross_entropy(outputs, labels)
                ),
            )
        monitor.evaluation(loss=1.0)
    return load_run(monitor.run)


def test_a_nan_stays_in_the_record_and_in_the_exports(with_a_nan, gradcli):
    """wandb.watch drops what is not finite before it is plotted: the NaN disappears."""
    columns = with_a_nan.columns()
    is_nan = [False, False, True, True, True]  # the third update made the weights NaN
    for name in ("loss", "grad_norm_before_clip", "grad_norm_after_clip/0"):
        assert np.isnan(columns[name]).tolist() == is_nan
    text = gradcli("runs", "export", "latest", "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["grad_norm_before_clip/2.weight"] == "nan" for row in rows] == is_nan


def test_a_nan_loss_makes_the_mean_nan_and_is_a_finding(with_a_nan, gradcli):
    """Hugging Face's Trainer leaves NaN losses out of its means (`logging_nan_inf_filter`)."""
    (evaluation,) = with_a_nan.evals
    assert math.isnan(evaluation.train_loss)
    result = json.loads(gradcli("runs", "show", "latest", "--json").out)
    assert (result["status"], result["train_loss"]) == ("diverged", "nan")
    (finding,) = result["findings"]
    assert (finding["code"], finding["severity"]) == ("non-finite", "error")


def test_whatever_is_not_finite_is_written_as_json_that_others_read(gradcli, runs_dir):
    """`json.dumps(math.nan)` is not JSON."""
    words = ("data=mnist5k", "optimizer=sgd", "clip=none", "max_steps=20", "model.hidden=[8]")
    trained = gradcli("train", *words, "--lr", "1e30", "--json", "--quiet")
    assert trained.code == 4
    inspected = gradcli("inspect-gradients", "latest", "--json")
    exported = gradcli("runs", "export", "latest", "--format", "jsonl")
    listed = gradcli("runs", "list", "--json")
    texts = [trained.out, inspected.out, listed.out, *exported.out.splitlines()]
    (directory,) = runs_dir.iterdir()
    for path in directory.glob("*.json*"):
        text = path.read_text()
        texts += text.splitlines() if path.suffix == ".jsonl" else [text]
    assert len(texts) > 8
    for text in texts:
        json.loads(text, parse_constant=refuse)
    assert '"inf"' in "".join(texts) or '"nan"' in "".join(texts)


def test_the_norms_of_a_scaled_loss_are_those_without_the_scale(runs_dir):
    """wandb.watch logs the gradients times the scale of mixed precision (wandb 4369, 9092)."""
    model = mlp(6, 8, CLASSES)
    ((inputs, labels),) = batches(1, floats(6))
    expected = norms_by_autograd(model, inputs, labels)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    with gc.GradientMonitor(model, optimizer, scaler=scaler) as monitor:
        loss = F.cross_entropy(model(inputs), labels)
        scaler.scale(loss).backward()
        monitor.step(loss)
        scaler.step(optimizer)
        scaler.update()
    columns = load_run(monitor.run).columns()
    for layer, norm in expected.items():
        assert columns[f"grad_norm_before_clip/{layer}"][0] == pytest.approx(norm, rel=1e-5)


# Before and after clipping ----------------------------------------------------------------------


def test_both_norms_are_shown_and_each_says_which_it_is(gradcli, runs_dir):
    """Users think clipping is broken if the norm before it is logged without saying so.

    Lightning 12595 and 18669, torchtitan 1500.
    """
    words = ("data=mnist5k", "max_steps=4", "model.hidden=[8]", "clip.max_norm=0.01")
    shown = gradcli("train", *words)
    titles = next(line for line in shown.out.splitlines() if "grad norm  before" in line)
    assert titles.index("before clip") < titles.index("after")
    columns = load_run(next(runs_dir.iterdir())).columns()
    assert (columns["grad_norm_before_clip"] > 0.1).all()
    assert columns["grad_norm_after_clip"] == pytest.approx(0.01, rel=1e-5)
    result = json.loads(gradcli("runs", "show", "latest", "--json").out)
    for layer in result["layers"]:
        assert layer["grad_norm_after_clip"]["max"] < layer["grad_norm_before_clip"]["max"]
    for column in ("grad_norm_before_clip", "grad_norm_after_clip"):
        assert column in gradcli("runs", "export", "latest", "--format", "csv").out.splitlines()[0]


INFINITE = """
import math, torch
from gradcli.models import MLP

class Infinite(MLP):
    def forward(self, images):
        output = super().forward(images)
        self.hidden1.bias.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
        return output
"""


def test_an_infinite_gradient_ends_the_training_before_it_spoils_a_weight(own, tmp_path):
    """pytorch 46849: clipping makes every gradient NaN, and the update then every weight."""
    paths = own(INFINITE, model__infinite="_target_: own_code.Infinite\nhidden: [8]\n")
    run = gc.train("data=mnist5k", "model=infinite", runs_dir=tmp_path / "runs", **paths)
    assert (run.status, run.fault.step, run.fault.layer) == ("diverged", 1, "hidden1")
    columns = run.columns()
    (before,), (after,) = (columns[f"grad_norm_{side}_clip/output"] for side in ("before", "after"))
    assert 0 < before < math.inf
    assert after == before
    weights = load_checkpoint(run.path)["model"]
    assert all(bool(value.isfinite().all()) for value in weights.values())


@pytest.mark.parametrize("clip", ["norm", "per_layer", "value", "agc", "autoclip", "zclip"])
def test_clipping_leaves_gradients_alone_if_one_is_infinite(clip):
    """pytorch 46849 again: 1 / infinity makes the finite ones 0, and the infinite one NaN.

    Nor may it be felt later: some rules keep statistics of the norms.
    """
    composed = compose_train([f"clip={clip}"])
    rule = composed.classes["clip"](**composed.config.clip.arguments)
    model = mlp(6, 8, CLASSES)
    gradients = Gradients(model, find_layers(model))
    *usual, faulty, last = batches(32, floats(6))
    for inputs, labels in (*usual, faulty, last):
        model.zero_grad()
        (100 * F.cross_entropy(model(inputs), labels)).backward()
        if labels is faulty[1]:
            model[0].bias.grad.fill_(math.inf)
        before = [p.grad.clone() for p in model.parameters()]
        rule(gradients, gradients.norms())
        after = [p.grad for p in model.parameters()]
        if labels is faulty[1]:
            assert all(map(torch.equal, after, before))
        assert all(bool(value.isfinite().all()) for value in after) == (labels is not faulty[1])


def test_an_activation_in_place_is_watched_like_any_other(runs_dir):
    """pytorch 61519: full backward hooks on modules fail next to an in-place ReLU."""
    data = batches(3, floats(6))
    runs = [
        recorded(mlp(6, 9, 8, CLASSES, activation=activation), data, every=1)
        for activation in (nn.ReLU, lambda: nn.ReLU(inplace=True))
    ]
    plain, in_place = ([record.input_grad_norm[1:] for record in run.layer_records] for run in runs)
    assert len(plain) == 3
    assert np.min(plain) > 0
    assert in_place == plain


# Any model, any loss, any optimizer -------------------------------------------------------------


class Bare(nn.Module):
    """Parameters that belong to no known layer, and a forward pass of the user's own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, CLASSES)
        self.gain = nn.Parameter(torch.ones(CLASSES))

    def forward(self, inputs):
        return torch.tanh(self.inner(inputs)) * self.gain


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory = nn.LSTM(6, 5, batch_first=True)
        self.output = nn.Linear(5, CLASSES)

    def forward(self, sequence):
        return self.output(self.memory(sequence)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.output = nn.Linear(6, CLASSES)

    def forward(self, sequence):
        return self.output(self.block(sequence).mean(dim=1))


class Signs(torch.optim.Optimizer):
    """An optimizer of the user's own, without a learning rate by that name."""

    def __init__(self, parameters):
        super().__init__(parameters, {"pace": 0.01})

    @torch.no_grad()
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.sub_(parameter.grad.sign(), alpha=0.01)


def spread(outputs, labels):
    """A loss that is not a mean over examples: it compares them with each other."""
    return torch.pdist(outputs).mean() + outputs.logsumexp(dim=1).var()


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


@pytest.mark.parametrize(
    ("build", "make_inputs", "make_optimizer", "loss_of"),
    [
        pytest.param(Bare, floats(6), sgd, F.cross_entropy, id="custom module"),
        pytest.param(Bare, floats(6), Signs, F.cross_entropy, id="custom optimizer"),
        pytest.param(Bare, floats(6), sgd, spread, id="no loss of single examples"),
        pytest.param(Attention, floats(3, 6), sgd, F.cross_entropy, id="transformer"),
        pytest.param(Recurrent, floats(4, 6), sgd, F.cross_entropy, id="rnn"),
        pytest.param(
            lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)),
            floats(6),
            sgd,
            F.cross_entropy,
            id="batch norm",
        ),
    ],
)
def test_a_model_is_watched_as_it_is(runs_dir, build, make_inputs, make_optimizer, loss_of):
    """Cockpit wants model and loss "extended", and the loss of each example.

    It crashes on custom modules (6), custom optimizers (5) and transformers (29); BackPACK fails
    with RNNs (16, 270) and users ask for an analysis without it (23). Here the norms of all these
    are right, and the weights those of a loop without a monitor, to the bit.
    """
    torch.manual_seed(0)
    watched = build()
    alone = copy.deepcopy(watched)
    data = batches(4, make_inputs)
    expected = norms_by_autograd(watched, *data[0], loss_of)
    run = recorded(
        watched, data, optimizer=make_optimizer(watched.parameters()), loss_of=loss_of, every=2
    )
    train_loop(alone, make_optimizer(alone.parameters()), data, loss_of=loss_of)
    assert all(map(torch.equal, watched.state_dict().values(), alone.state_dict().values()))
    columns = run.columns()
    for layer, norm in expected.items():
        name = f"grad_norm_before_clip/{layer}"
        assert columns[name][0] == pytest.approx(norm, rel=1e-4, abs=1e-7)


def test_examples_that_batch_norm_mixes_are_refused_with_the_reason():
    """BackPACK warns of batch norm, and continues with meaningless numbers."""
    words = ("data=mnist5k", "model.hidden=[8]", "model.norm=batch", "examples=64")
    probes = gc.inspect(*words, probe=["noise", "histograms"]).probes
    assert "batch norm" in probes.refused["noise"]
    assert "noise" not in probes.found
    assert "histograms" in probes.found


def test_per_example_gradients_of_a_recurrent_model_are_those_of_each_example_alone():
    """BackPACK has none for RNNs (270)."""
    torch.manual_seed(0)
    model = Recurrent().double()
    ((inputs, labels),) = batches(1, floats(4, 6))
    inputs = inputs.double()

    def gradient_of(one):
        loss = F.cross_entropy(model(inputs[one]), labels[one])
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        return torch.cat([gradient.flatten() for gradient in gradients])

    rows = torch.stack([gradient_of(slice(index, index + 1)) for index in range(BATCH)])
    mean = rows.mean(dim=0)
    noise = gradient_noise(model, inputs, labels)
    assert noise.grad_norm == pytest.approx(float(mean.norm()), rel=1e-9)
    norm_test = float(rows.var(dim=0).sum() / (BATCH * mean.square().sum()))
    assert noise.norm_test == pytest.approx(norm_test, rel=1e-9)


# Many trials ------------------------------------------------------------------------------------

SMALL = ("data=mnist5k", "model.hidden=[8]", "max_steps=2", "protocol.tune=false")

RAISES = """
import torch

class Raises(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 2:  # one is made with another, to see whether it can be
            raise RuntimeError("no such luck")
        return super().step(closure)
"""


def test_a_trial_that_fails_takes_no_result_from_the_others(own, runs_dir, trials_in_this_process):
    """Hydra's sweeper drops the results of all jobs when one fails (2284)."""
    paths = own(RAISES, optimizer__raises="_target_: own_code.Raises\nlr: 0.1\n")
    comparison = gc.compare(
        *SMALL, optimizers=["raises", "sgd", "adam"], seeds=2, runs_dir=runs_dir, **paths
    )
    assert comparison.summary.status == "failed"
    ended = {(arm.name, arm.test_score.count, arm.missing) for arm in comparison.ranking}
    assert ended == {("sgd", 2, 0), ("adam", 2, 0), ("raises", 0, 2)}
    errors = [one.error for one in comparison.summary.trials if one.status == "failed"]
    assert len(errors) == 2
    assert all("no such luck" in error for error in errors)


def test_a_killed_worker_ends_its_own_job_and_the_next_one_finds_another(tmp_path):
    """With Hydra's launchers one worker that is killed ends the whole sweep."""
    config = compose_train(["data=mnist5k", "model.hidden=[4]", "max_steps=1", "threads=1"]).yaml()
    engine = LocalEngine(jobs=1)
    try:
        engine.submit(Job("killed", str(tmp_path / "killed"), config))
        engine.submit(Job("next", str(tmp_path / "next"), config))
        # It has not even imported torch by now, which spares this test the wait.
        os.kill(engine._workers[0].process.pid, signal.SIGKILL)
        ended = []
        deadline = time.monotonic() + 120
        while len(ended) < 2 and time.monotonic() < deadline:
            ended += engine.poll(0.1)
    finally:
        engine.close()
    assert [one.id for one in ended] == ["killed", "next"]
    assert "SIGKILL" in ended[0].problem
    assert load_run(tmp_path / "next").status == "finished"


class Ends(QuietCompareView):
    """Lets this many trials end, and then fails as no view should."""

    def __init__(self, after):
        self.after, self.seen = after, []

    def trial(self, trial):
        self.seen.append(trial.id)
        if len(self.seen) == self.after:
            raise MemoryError


def test_the_same_comparison_again_runs_only_what_is_missing(runs_dir, trials_in_this_process):
    """Hydra's sweeps cannot be resumed (3328)."""
    asked = {"optimizers": ["sgd", "adam"], "seeds": 3, "runs_dir": runs_dir}
    first, rest = Ends(after=2), Ends(after=0)
    with pytest.raises(MemoryError):
        gc.compare(*SMALL, **asked, view=first)
    comparison = gc.compare(*SMALL, **asked, view=rest)
    assert comparison.summary.status == "finished"
    assert len(comparison.summary.trials) == 6
    assert not set(first.seen) & set(rest.seen)
    assert len(first.seen) + len(rest.seen) == 6


def test_run_directories_of_the_same_moment_and_name_are_as_many_as_were_made(
    tmp_path, monkeypatch
):
    """Hydra's jobs that start at the same second share a directory (1607, 1817)."""
    # Few endings, so that many of the names are taken already.
    draw = random.Random(0)
    monkeypatch.setattr(
        "gradcli.runs.writer.secrets.token_hex", lambda size: f"{draw.randrange(120):04x}"
    )
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_run_directory(tmp_path, "same"), range(80)))
    assert len(set(made)) == 80
    assert set(tmp_path.iterdir()) == set(made)


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("optimizer.lrr=0.1", "optimizer.lr=0.1"),
        ("epoch=2", "epochs=2"),
        ("lr=1", "optimizer.lr=1"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_right_one(word, right, gradcli, runs_dir):
    """Hydra's answer is to add the misspelt key with a `+`."""
    answer = gradcli("train", word)
    assert answer.code == 2
    assert f"try: {right}" in answer.message
    assert "+" not in answer.err
    assert not runs_dir.exists()


def test_a_config_runs_no_code_that_was_not_allowed(own, gradcli, runs_dir, tmp_path):
    """A `_target_` of Hydra's imports and calls whatever it names (3258, 3409)."""
    trap = tmp_path / "sprung"
    paths = own(
        f"open({str(trap)!r}, 'w')\nclass Trap: pass\n",
        optimizer__trap="_target_: own_code.Trap\n",
        model__system="_target_: os.system\ncommand: 'touch sprung'\n",
    )
    folder = ("--config-dir", str(paths["config_dir"]))
    run = gc.train("data=mnist5k", "model.hidden=[4]", "max_steps=1", runs_dir=runs_dir)
    config = yaml.safe_load(run.config)
    config["optimizer"] = {"_target_": "own_code.Trap"}
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    for words in (
        ("optimizer._target_=own_code.Trap",),
        ("activation._target_=builtins.exec",),
        ("optimizer=trap", *folder),
        ("model=system", *folder),
        ("--resume", str(run.path), "epochs=9"),
    ):
        answer = gradcli("train", *words)
        assert answer.code == 2
        assert "not in a package that configs may use" in " ".join(answer.err.split())
    assert not trap.exists()
    assert len(list(runs_dir.iterdir())) == 1


# Downloads --------------------------------------------------------------------------------------


@pytest.fixture
def mirror(monkeypatch):
    """A server whose folders `403` and `503` answer so, and whose `silent` never does."""
    monkeypatch.delenv("http_proxy", raising=False)
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status = self.path.split("/")[1]
            if status == "silent":
                over.wait(60)
            else:
                self.send_error(int(status))

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        yield lambda *folders: [f"{address}/{folder}/" for folder in folders]
        over.set()
        server.shutdown()
        thread.join()


def test_mirrors_that_refuse_or_never_answer_end_in_the_bundled_sample(
    mirror, monkeypatch, tmp_path
):
    """torchvision's MNIST fails if a mirror answers 403 or 503, and has no time-out.

    vision 1938 and 8568.
    """
    # What torchvision publishes, without the seconds that importing it takes.
    published = SimpleNamespace(mirrors=[], resources=[("images.gz", "0" * 32)])
    monkeypatch.setattr(
        torchvision_mnist, "import_datasets", lambda: SimpleNamespace(MNIST=published)
    )
    for name in ("PATIENCE", "LEAST_PATIENCE"):
        monkeypatch.setattr(torchvision_mnist, name, 0.6)
    paths = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache"}
    mirrors = mirror("403", "silent", "503")
    dataset = load_dataset("auto", mirrors=mirrors, **paths)
    assert (dataset.info.name, len(dataset.train)) == ("mnist5k", 4000)
    for reason in ("403 (Forbidden)", "503 (Service Unavailable)", "time-out after waiting 0.2 s"):
        assert reason in dataset.info.note
    with pytest.raises(gc.UserError, match="mnist is not on the disk") as refused:
        load_dataset("mnist", mirrors=mirrors, **paths)
    assert all(url in refused.value.problem for url in mirrors)
    assert "data=mnist5k" in refused.value.hint


# Files ------------------------------------------------------------------------------------------

WRITES_RUNS = """
import sys
from pathlib import Path
import numpy as np
from gradcli.records import *
from gradcli.runs import RunWriter, create_run_directory

layers = (LayerInfo("output", "Linear", 0, (ParameterInfo("output.weight", (2, 4)),)),)
data = DataInfo("own", 0, 0, 0, "", (0, 0, 0), 0)
info = RunInfo("", "", data, "", 8, "", 0.1, "", "", "", "cpu", 1, 1, 1, 0, 0, layers)

def row(step):
    one = np.ones(1)
    return StepRecords(one * step, one, one / step, one, one, one, one[:, None], one[:, None])

def write(runs, steps):
    writer = RunWriter(create_run_directory(Path(sys.argv[1]), "same"), "", {})
    writer.begin(info, {})
    for step in steps:
        writer.write(row(step))
        writer.write(EvalRecord(step, 1, "val", 0.5, 1 / step, 0.5, 1.0, 1.0))
        writer.note(progress={"steps": step, "epochs": 1})
        writer.set_status("running")
    writer.set_status("finished")
    writer.close()
"""


def writing(folder, program):
    return subprocess.Popen([sys.executable, "-c", WRITES_RUNS + program, str(folder)])


def test_processes_that_write_runs_at_the_same_time_lose_nothing(tmp_path):
    """If runs share a database, processes that migrate it at the same time fail (MLflow)."""
    program = "for _ in range(5): write(Path(sys.argv[1]), range(1, 21))"
    processes = [writing(tmp_path, program) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    runs = list_runs(tmp_path)
    assert len(runs) == 15
    for run in runs:
        assert run.status == "finished"
        assert run.steps.step.tolist() == list(range(1, 21))
        assert [one.score for one in run.evals] == [1 / step for step in range(1, 21)]
        assert run.state["progress"] == {"steps": 20, "epochs": 1}


def test_a_run_is_read_without_the_tool_that_wrote_it(runs_dir):
    """MLflow no longer reads the files that it wrote by default until 3.13."""
    run = recorded(mlp(6, 8, CLASSES), batches(5, floats(6)))
    description = json.loads((run.path / "steps.json").read_text())
    columns = description["columns"]
    row = np.dtype([(one["name"], one["type"], tuple(one["shape"])) for one in columns])
    steps = np.fromfile(run.path / "steps.bin", row)
    assert row.itemsize == description["row_bytes"]
    assert steps["step"].tolist() == [1, 2, 3, 4, 5]
    ours = run.columns()
    assert steps["loss"].tolist() == ours["loss"].tolist()
    for index, name in enumerate(description["parameters"]):
        norms = steps["parameter_grad_norm_before_clip"][:, index]
        assert norms.tolist() == ours[f"grad_norm_before_clip/{name}"].tolist()


def test_a_run_whose_process_is_killed_at_any_moment_is_read(tmp_path):
    """aim's index is corrupt after a kill (2869)."""
    draw = random.Random(0)
    process = writing(tmp_path, "write(Path(sys.argv[1]), range(1, 10**9))")
    goal = draw.randint(100, 300)
    while process.poll() is None:
        run = next(iter(list_runs(tmp_path)), None)
        # Read while it is written, too.
        if run is not None and len(run.steps) > goal:
            break
    process.kill()
    process.wait()
    run = load_run(run.path)
    assert run.status == "lost"
    assert run.steps.step.tolist() == list(range(1, len(run.steps) + 1))
    assert len(run.steps) > goal
    assert len(run.steps) - len(run.evals) in (0, 1)
    assert run.state["progress"]["steps"] in (len(run.evals) - 1, len(run.evals))
    RunWriter(run.path, "", {}, earlier=run.state).close()  # and can be resumed


def test_a_file_whose_writing_fails_is_still_the_one_before(tmp_path, monkeypatch):
    """sacred empties its file of metrics before it writes it again: what fails then is lost."""
    path = tmp_path / "run.json"
    write_json(path, {"steps": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"steps": 2})
    assert json.loads(path.read_text()) == {"steps": 1}
    assert list(tmp_path.iterdir()) == [path]


# Screens ----------------------------------------------------------------------------------------


def test_in_a_pipe_every_epoch_is_a_line_without_control_codes(gradcli, runs_dir, monkeypatch):
    """Rich's `Live` prints its last frame alone there, and cursor codes with `FORCE_COLOR`."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    answer = gradcli("train", "data=mnist5k", "model.hidden=[4]", "batch_size=2000", "epochs=3")
    assert answer.code == 0
    epochs = [line[:9] for line in answer.err.splitlines() if line.startswith("epoch")]
    assert epochs == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert not set(answer.out + answer.err) & {"\x1b", "\r", "\b"}
