"""`gradcli.lightning.GradientCallback` in Lightning's own Trainer.

What it records is compared with a plain loop over the same batches, and the weights with those of a
fit without it.
"""

import contextlib
import copy
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from gradcli import UserError, load_run
from gradcli.extras.torchvision_import import import_torchvision
from gradcli.runs import list_runs

import_torchvision("datasets")  # Lightning imports torchvision, too, perhaps one for another torch
pytest.importorskip("lightning")

import lightning  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402
from lightning.pytorch.plugins import MixedPrecision  # noqa: E402

from gradcli.lightning import GradientCallback  # noqa: E402

# Lightning's own warnings are not ours, and have classes that not every process can import.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error::RuntimeWarning:gradcli"),
]
BATCH, BATCHES, EPOCHS, LEARNING_RATE = 8, 10, 2, 0.2
SCALE = 2.0**12


class Classifier(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))

    def training_step(self, batch, _):
        return cross_entropy(self.network(batch[0]), batch[1])

    def validation_step(self, batch, _):
        outputs = self.network(batch[0])
        self.log("val_loss", cross_entropy(outputs, batch[1]))
        self.log("val_accuracy", (outputs.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE, momentum=0.5)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    inputs = 2 * torch.randn(BATCH * BATCHES, 6, generator=generator)
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)


def trainer_with(*callbacks, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    usual = {"accelerator": "cpu", "max_epochs": EPOCHS, "enable_checkpointing": False}
    return lightning.Trainer(callbacks=[*callbacks], **quiet | usual | options)


def fit(module, data, callback, validate=False, **options):
    loader = DataLoader(data, BATCH)
    trainer = trainer_with(*([callback] if callback else []), **options)
    trainer.fit(module, loader, loader if validate else None)
    return trainer


def plain(data, clip=lambda parameters: None, accumulate=1, autocast=None, scale=1.0):
    """What a plain loop computes: losses (u,), and norms (u, p) before and after clipping."""
    network = Classifier().network
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=0.5)
    found = {"loss": [], "before": [], "after": []}
    for _ in range(EPOCHS):
        batches = list(DataLoader(data, BATCH))
        for first in range(0, len(batches), accumulate):
            part = batches[first : first + accumulate]
            losses = []
            optimizer.zero_grad()
            for inputs, labels in part:
                kind = torch.autocast("cpu", autocast, cache_enabled=False)
                with kind if autocast else contextlib.nullcontext():
                    loss = cross_entropy(network(inputs), labels)
                (scale * loss / accumulate).backward()
                losses.append(loss.item())
            for one in parameters:
                one.grad /= scale
            found["loss"].append(np.mean(losses))
            found["before"].append([one.grad.double().norm().item() for one in parameters])
            clip(parameters)
            found["after"].append([one.grad.double().norm().item() for one in parameters])
            optimizer.step()
    return {name: np.array(rows) for name, rows in found.items()}


def check(run, expected, rtol=1e-5):
    steps = run.steps
    assert steps.step.tolist() == list(range(1, len(expected["loss"]) + 1))
    np.testing.assert_allclose(steps.loss, expected["loss"], rtol=rtol)
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, expected["before"], rtol=rtol)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, expected["after"], rtol=rtol)


CLIPS = {
    "not clipped": ({}, lambda parameters: None),
    "by norm": (
        {"gradient_clip_val": 0.4},
        lambda parameters: nn.utils.clip_grad_norm_(parameters, 0.4),
    ),
    "by value": (
        {"gradient_clip_val": 0.05, "gradient_clip_algorithm": "value"},
        lambda parameters: nn.utils.clip_grad_value_(parameters, 0.05),
    ),
}


@pytest.mark.parametrize("name", CLIPS)
def test_norms_are_those_of_a_plain_loop(data, name):
    options, clip = CLIPS[name]
    callback = GradientCallback()
    fit(Classifier(), data, callback, **options)
    [path] = callback.runs
    expected = plain(data, clip)
    run = load_run(path)
    check(run, expected)
    assert run.status == "finished"
    assert run.steps.epoch.tolist() == [1] * BATCHES + [2] * BATCHES
    changed = (expected["before"] != expected["after"]).any()
    assert changed == (name != "not clipped")
    assert [parameter.name for layer in run.layers for parameter in layer.parameters] == [
        *("0.weight", "0.bias", "2.weight", "2.bias")
    ]
    assert [one.step for one in run.layer_records] == [1, 2, 3, 5, 10]


@pytest.mark.parametrize("accumulate", [2, 3])
def test_an_accumulation_is_one_update_with_the_mean_loss(data, accumulate):
    callback = GradientCallback()
    fit(Classifier(), data, callback, accumulate_grad_batches=accumulate)
    run, expected = load_run(callback.runs[0]), plain(data, accumulate=accumulate)
    assert len(run.steps) == EPOCHS * -(-BATCHES // accumulate)
    check(run, expected)


def test_weights_are_the_same_to_the_bit_as_without_it(data):
    options = {"gradient_clip_val": 0.4, "accumulate_grad_batches": 2}
    bare, watched = Classifier(), Classifier()
    fit(bare, data, None, **options)
    fit(watched, data, GradientCallback(every=1), **options)
    assert all(map(torch.equal, bare.parameters(), watched.parameters()))


def test_update_ratios_are_those_of_the_weights(data):
    seen = []

    class Weights(lightning.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            self.before = [one.detach().clone() for one in module.parameters()]

        def on_train_batch_end(self, trainer, module, *_):
            pairs = zip(self.before, module.parameters(), strict=True)
            norms = [((new - old).norm().item() ** 2, old.norm().item() ** 2) for old, new in pairs]
            moved, size = (np.reshape(one, (2, 2)).sum(1) for one in zip(*norms, strict=True))
            seen.append(np.sqrt(moved / size))

    callback = GradientCallback(every=1)
    loader = DataLoader(data, BATCH)
    trainer_with(Weights(), callback).fit(Classifier(), loader)
    ratios = [one.update_ratio for one in load_run(callback.runs[0]).layer_records]
    np.testing.assert_allclose(ratios, seen, rtol=1e-4)


def test_bfloat16_is_measured_as_it_is(data):
    callback = GradientCallback()
    fit(Classifier(), data, callback, precision="bf16-mixed")
    check(load_run(callback.runs[0]), plain(data, autocast=torch.bfloat16))


def test_norms_and_loss_are_without_the_scale_of_a_scaler(data):
    callback = GradientCallback()
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    fit(Classifier(), data, callback, plugins=precision, gradient_clip_val=0.4)
    expected = plain(data, CLIPS["by norm"][1], autocast=torch.float16, scale=SCALE)
    check(load_run(callback.runs[0]), expected, rtol=1e-4)


def test_updates_that_a_scaler_skips_are_counted_and_no_fault(data):
    callback = GradientCallback()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    fit(Classifier(), data, callback, plugins=MixedPrecision("16-mixed", "cpu", scaler))
    run = load_run(callback.runs[0])
    skipped = run.state["skipped_steps"]
    assert skipped > 0
    assert len(run.steps) == EPOCHS * BATCHES - skipped
    assert run.fault is None
    assert np.isfinite(run.steps.grad_norm_before_clip).all()


def test_validation_is_recorded_after_the_steps_before_it(data):
    values = []

    class Values(lightning.Callback):
        def on_validation_end(self, trainer, module):
            if not trainer.sanity_checking:
                logged = trainer.callback_metrics
                values.append((float(logged["val_loss"]), float(logged["val_accuracy"])))

    callback = GradientCallback(metric=("val_accuracy", "maximize"))
    loader = DataLoader(data, BATCH)
    trainer_with(Values(), callback, val_check_interval=0.5).fit(Classifier(), loader, loader)
    run = load_run(callback.runs[0])
    assert [(one.step, one.epoch) for one in run.evals] == [(5, 1), (10, 1), (15, 2), (20, 2)]
    assert [(one.loss, one.score) for one in run.evals] == values
    assert (run.info.metric.name, run.info.metric.direction) == ("val_accuracy", "maximize")


def test_without_a_metric_the_score_is_the_validation_loss(data):
    callback = GradientCallback()
    fit(Classifier(), data, callback, validate=True)
    run = load_run(callback.runs[0])
    assert [one.score for one in run.evals] == [one.loss for one in run.evals]
    assert run.info.metric.direction == "minimize"


def test_a_metric_that_is_not_logged_is_told_once_with_the_nearest(data):
    callback = GradientCallback(metric=("val_acuracy", "maximize"))
    with pytest.warns(RuntimeWarning, match=r"'val_acuracy' is not logged.*val_accuracy") as caught:
        fit(Classifier(), data, callback, validate=True)
    assert sum("val_acuracy" in str(one.message) for one in caught) == 1
    assert all(np.isnan(one.score) for one in load_run(callback.runs[0]).evals)


class Rivals(lightning.LightningModule):
    """Two networks, each with an optimizer of its own, in manual optimization."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        self.second = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))

    def training_step(self, batch, index):
        optimizers = self.optimizers()
        for number, network in enumerate((self.first, self.second)):
            if number and index % 2:
                continue  # the second one learns in every other batch
            optimizers[number].zero_grad()
            self.manual_backward(cross_entropy(network(batch[0]), batch[1]))
            optimizers[number].step()

    def configure_optimizers(self):
        return [
            torch.optim.SGD(self.first.parameters(), lr=0.1),
            torch.optim.Adam(self.second.parameters(), lr=0.01),
        ]


def rivals_alone(data):
    module = Rivals()
    networks = module.first, module.second
    optimizers, found = module.configure_optimizers(), ([], [])
    for _ in range(EPOCHS):
        for index, (inputs, labels) in enumerate(DataLoader(data, BATCH)):
            for number, network in enumerate(networks):
                if number and index % 2:
                    continue
                optimizers[number].zero_grad()
                loss = cross_entropy(network(inputs), labels)
                loss.backward()
                norms = [one.grad.norm().item() for one in network.parameters()]
                found[number].append([loss.item(), *norms])
                optimizers[number].step()
    return [np.array(rows) for rows in found]


def test_each_of_several_optimizers_has_a_run(data):
    callback = GradientCallback(name="rivals")
    fit(Rivals(), data, callback)
    runs = [load_run(path) for path in callback.runs]
    assert [run.info.name for run in runs] == ["rivals-1", "rivals-2"]
    assert [run.info.optimizer for run in runs] == ["SGD", "Adam"]
    for run, expected in zip(runs, rivals_alone(data), strict=True):
        assert run.steps.step.tolist() == list(range(1, len(expected) + 1))
        np.testing.assert_allclose(run.steps.loss, expected[:, 0], rtol=1e-5)
        norms = run.steps.parameter_grad_norm_before_clip
        np.testing.assert_allclose(norms, expected[:, 1:], rtol=1e-5)


@pytest.mark.parametrize("module_type", [Classifier, Rivals])
def test_a_resumed_fit_goes_on_at_the_right_step_in_a_new_run(data, tmp_path, module_type):
    def saving(epochs, folder):
        keeps = ModelCheckpoint(tmp_path / folder, save_last=True)
        callback = GradientCallback(note="mine.")
        options = {"enable_checkpointing": True, "max_epochs": epochs}
        return callback, trainer_with(callback, keeps, **options)

    loader = DataLoader(data, BATCH)
    whole, trainer = saving(4, "whole")
    trainer.fit(module_type(), loader)
    first, trainer = saving(2, "saved")
    trainer.fit(module_type(), loader)
    second, trainer = saving(4, "saved")
    trainer.fit(module_type(), loader, ckpt_path=tmp_path / "saved" / "last.ckpt")
    for paths in zip(whole.runs, first.runs, second.runs, strict=True):
        one, before, after = map(load_run, paths)
        rows = len(before.steps)
        assert after.steps.step.tolist() == one.steps.step[rows:].tolist()
        assert after.steps.epoch.tolist() == one.steps.epoch[rows:].tolist()
        np.testing.assert_array_equal(
            after.steps.parameter_grad_norm_before_clip,
            one.steps.parameter_grad_norm_before_clip[rows:],
        )
        assert after.labels.note == f"mine. Goes on after step {rows}."


class Failing(Classifier):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def training_step(self, batch, index):
        if index == 4:
            raise self.error
        return super().training_step(batch, index)


@pytest.mark.parametrize(
    ("error", "seen", "status"),
    [
        (ValueError("broken"), ValueError, "failed"),
        (KeyboardInterrupt(), SystemExit, "interrupted"),
    ],
)
def test_what_ends_a_fit_is_recorded(data, error, seen, status):
    callback = GradientCallback()
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(seen):
            fit(Failing(error), data, callback)
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    run = load_run(callback.runs[0])
    assert run.status == status
    assert run.steps.step.tolist() == [1, 2, 3, 4]
    assert run.state["error"] == repr(error)


def test_a_fit_may_be_stopped_at_a_fault(data):
    spoiled = TensorDataset(data.tensors[0].clone(), data.tensors[1])
    spoiled.tensors[0][BATCH] = torch.nan
    callback = GradientCallback(stop_on_fault=True)
    with pytest.warns(RuntimeWarning, match="At step 2"), pytest.raises(FloatingPointError):
        fit(Classifier(), spoiled, callback)
    run = load_run(callback.runs[0])
    assert (run.status, run.fault.step, run.fault.phase) == ("diverged", 2, "inputs")


class Skipping(Classifier):
    def __init__(self, skipped):
        super().__init__()
        self.skipped = skipped

    def training_step(self, batch, index):
        return None if index in self.skipped else super().training_step(batch, index)


def test_batches_without_a_loss_have_no_record(data):
    callback = GradientCallback()
    trainer = fit(Skipping({0, 5}), data, callback, max_epochs=1)
    run = load_run(callback.runs[0])
    assert run.steps.step.tolist() == [2, 3, 4, 5, 7, 8, 9, 10]
    assert trainer.global_step == 10


class Called(lightning.LightningModule):
    """Layers as children, called in `forward`; nothing is the whole network but the module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.output = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, inputs):
        return self.output(self.hidden(inputs).tanh())

    def training_step(self, batch, _):
        return {"loss": cross_entropy(self(batch[0]), batch[1])}

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)


def test_a_module_that_is_the_network_itself_and_lbfgs(data):
    callback = GradientCallback()
    trainer = fit(Called(), data, callback)
    run = load_run(callback.runs[0])
    assert [layer.name for layer in run.layers] == ["hidden", "output"]
    assert run.steps.step.tolist() == list(range(1, trainer.global_step + 1))
    model = Called()
    inputs, labels = next(iter(DataLoader(data, BATCH)))
    cross_entropy(model(inputs), labels).backward()
    norms = [one.grad.norm().item() for one in model.parameters()]
    np.testing.assert_allclose(run.steps.parameter_grad_norm_before_clip[0], norms, rtol=1e-5)


def test_the_diagnosis_knows_the_loss_and_the_end_says_where_to_look(data, caplog):
    callback = GradientCallback()
    with caplog.at_level("INFO"):
        fit(Classifier(), data, callback, max_epochs=5, accumulate_grad_batches=2)
    path = callback.runs[0]
    run = load_run(path)
    assert "NllLoss" in run.setup.loss_path
    assert run.setup.output_at == len(run.setup.loss_path) - 1
    said = [one.getMessage() for one in caplog.records if one.name.endswith("gradcli")]
    assert said == [f"gradcli: 25 updates, healthy\ngradcli inspect-gradients {path}"]


def test_the_same_callback_serves_one_fit_after_the_other(data):
    callback = GradientCallback()
    fit(Classifier(), data, callback)
    first = callback.runs
    fit(Classifier(), data, callback)
    assert first != callback.runs
    assert len(list_runs(Path("runs"))) == 2


def test_a_callback_can_be_copied_with_its_module_and_pickled(data):
    callback = copy.deepcopy(GradientCallback())
    fit(copy.deepcopy(Classifier()), data, callback)
    assert load_run(callback.runs[0]).status == "finished"


def test_a_strategy_that_hides_gradients_is_refused(data, monkeypatch):
    from lightning.pytorch.strategies import SingleDeviceStrategy

    monkeypatch.setattr(SingleDeviceStrategy, "handles_gradient_accumulation", True)
    with pytest.raises(UserError, match="keeps the gradients to itself"):
        fit(Classifier(), data, GradientCallback())
    assert not Path("runs").exists()


SCRIPT = """
import sys, torch
from gradcli.extras.torchvision_import import import_torchvision
import_torchvision("datasets")
import {package} as package
from gradcli.lightning import GradientCallback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Classifier(package.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 3))
    def training_step(self, batch, _):
        inputs, labels = (one[self.global_rank :: {processes}] for one in batch)
        return nn.functional.cross_entropy(self.network(inputs), labels)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.5)

generator = torch.Generator().manual_seed(1)
inputs = 2 * torch.randn(80, 6, generator=generator)
loader = DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), 8)
trainer = package.Trainer(
    max_epochs=2, accelerator="cpu", devices={processes}, strategy="{strategy}", logger=False,
    gradient_clip_val=0.4, use_distributed_sampler=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, callbacks=[GradientCallback()],
)
trainer.fit(Classifier(), loader)
"""


def run_script(folder, **words):
    (folder / "script.py").write_text(SCRIPT.format(**words))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_first_of_two_processes_writes_the_gradient_of_the_whole_batch(data, tmp_path):
    said = run_script(tmp_path, package="lightning", processes=2, strategy="ddp")
    [run] = list_runs(tmp_path / "runs")
    expected = plain(data, CLIPS["by norm"][1])
    steps = load_run(run.path).steps
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, expected["before"], rtol=1e-4)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, expected["after"], rtol=1e-4)
    assert said.count("gradcli: 20 updates") == 1


def test_the_older_package_works_as_well(data, tmp_path):
    said = run_script(tmp_path, package="pytorch_lightning", processes=1, strategy="auto")
    [run] = list_runs(tmp_path / "runs")
    check(load_run(run.path), plain(data, CLIPS["by norm"][1]))
    assert "gradcli: 20 updates" in said


def test_no_warning_of_ours_in_a_sound_fit(data):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Classifier(), data, GradientCallback(), validate=True)
    assert not [one for one in caught if "gradcli" in one.filename]
