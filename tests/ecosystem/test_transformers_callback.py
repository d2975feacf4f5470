"""`gradcli.transformers.GradientCallback` in the Trainer of Transformers, on a tiny model.

What it records is compared with a plain loop over the same batches, and the weights with those of a
training without it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gradcli import UserError, load_run
from gradcli.extras.torchvision_import import import_torchvision
from gradcli.runs import list_runs

import_torchvision("datasets")  # Transformers imports torchvision, perhaps one for another torch
pytest.importorskip("accelerate")
transformers = pytest.importorskip("transformers")

from accelerate.state import AcceleratorState, GradientState  # noqa: E402
from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

from gradcli.transformers import GradientCallback  # noqa: E402

# The warnings of Transformers are not ours.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("error::RuntimeWarning:gradcli"),
]
BATCH, BATCHES, EPOCHS, LEARNING_RATE, WORDS = 4, 10, 2, 0.05, 20


def language_model():
    config = transformers.GPT2Config(
        vocab_size=WORDS,
        n_positions=8,
        n_embd=16,
        n_layer=2,
        n_head=2,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    )
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture
def data():
    """Sequences of one length, so that a mean over tokens is one over sequences."""
    rows = (torch.arange(8) * (one % 5 + 1) + one for one in range(BATCH * BATCHES))
    return [{"input_ids": row % WORDS, "labels": row % WORDS} for row in rows]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    yield
    # Accelerate keeps the precision of the first trainer in a process.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def trainer_with(model, data, callbacks, kind=InOrder, **options):
    usual = {
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    args = TrainingArguments("out", **usual | options)
    return kind(model, args, train_dataset=data, eval_dataset=data[:8], callbacks=callbacks)


def train(data, callback, **options):
    trainer = trainer_with(language_model(), data, [callback], **options)
    trainer.train()
    return load_run(callback.run)


def plain(data, limit=None, accumulate=1, autocast=None):
    """What a plain loop computes: losses (u,), and norms (u, p) before and after clipping."""
    model = language_model().train()
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=LEARNING_RATE)
    batches = [
        torch.stack([row["input_ids"] for row in data[first : first + BATCH]])
        for first in range(0, len(data), BATCH)
    ]
    found = {"loss": [], "before": [], "after": []}
    for _ in range(EPOCHS):
        for first in range(0, BATCHES, accumulate):
            part = batches[first : first + accumulate]
            optimizer.zero_grad()
            total = 0.0
            for words in part:
                with torch.autocast("cpu", autocast, enabled=autocast is not None):
                    logits = model(input_ids=words).logits
                logits = logits.float()[:, :-1].reshape(-1, WORDS)
                # Transformers divides by all labels, also by the first, which nothing predicts.
                loss = cross_entropy(logits, words[:, 1:].flatten(), reduction="sum")
                loss /= sum(map(torch.numel, part))
                loss.backward()
                total += loss.item()
            found["loss"].append(total)
            found["before"].append([one.grad.double().norm().item() for one in parameters])
            if limit:
                nn.utils.clip_grad_norm_(parameters, limit)
            found["after"].append([one.grad.double().norm().item() for one in parameters])
            optimizer.step()
    return {name: np.array(rows) for name, rows in found.items()}


def check(run, expected, rtol=1e-4):
    steps, largest = run.steps, expected["before"].max()
    assert steps.step.tolist() == list(range(1, len(expected["loss"]) + 1))
    np.testing.assert_allclose(steps.loss, expected["loss"], rtol=rtol)
    close = {"rtol": rtol, "atol": rtol * largest}
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, expected["before"], **close)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, expected["after"], **close)


@pytest.mark.parametrize("limit", [0.0, 0.7])
def test_norms_are_those_of_a_plain_loop(data, limit):
    run, expected = train(data, GradientCallback(), max_grad_norm=limit), plain(data, limit)
    check(run, expected)
    assert run.status == "finished"
    assert run.steps.epoch.tolist() == [1] * BATCHES + [2] * BATCHES
    assert (expected["before"] != expected["after"]).any() == bool(limit)
    assert run.layers[0].name == "transformer.wte"
    assert [one.step for one in run.layer_records] == [1, 2, 3, 5, 10]


@pytest.mark.parametrize("accumulate", [2, 3])
def test_an_accumulation_is_one_update(data, accumulate):
    options = {"gradient_accumulation_steps": accumulate, "max_grad_norm": 0.7}
    run = train(data, GradientCallback(), **options)
    assert len(run.steps) == EPOCHS * -(-BATCHES // accumulate)
    check(run, plain(data, 0.7, accumulate))


def test_the_norm_before_clipping_is_the_one_that_the_trainer_logs(data):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback], max_grad_norm=0.7, logging_steps=1)
    trainer.train()
    logged = [one["grad_norm"] for one in trainer.state.log_history if "grad_norm" in one]
    steps = load_run(callback.run).steps
    np.testing.assert_allclose(steps.grad_norm_before_clip, logged, rtol=1e-5)


def test_weights_are_the_same_to_the_bit_as_without_it(data):
    options = {"max_grad_norm": 0.7, "gradient_accumulation_steps": 2, "optim": "adamw_torch"}
    bare, watched = language_model(), language_model()
    trainer_with(bare, data, None, **options).train()
    trainer_with(watched, data, [GradientCallback(every=1)], **options).train()
    assert all(map(torch.equal, bare.parameters(), watched.parameters()))


def test_bfloat16_is_measured_as_it_is(data):
    run = train(data, GradientCallback(), bf16=True)
    check(run, plain(data, autocast=torch.bfloat16), rtol=2e-3)


def use_scaler(trainer, scale):
    """Let a trainer scale its loss: float16 is for a GPU, and this is what is left on a CPU."""
    accelerator = trainer.accelerator
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    accelerator.unscale_gradients = lambda: accelerator.scaler.unscale_(trainer.optimizer.optimizer)


def test_norms_and_loss_are_without_the_scale_of_a_scaler(data):
    """float16 is for a GPU alone; a scaler is what is left of it on a CPU."""
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback], max_grad_norm=0.7)
    accelerator = trainer.accelerator
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    accelerator.unscale_gradients = lambda: accelerator.scaler.unscale_(trainer.optimizer.optimizer)
    trainer.train()
    check(load_run(callback.run), plain(data, 0.7))


def test_updates_that_a_scaler_skips_are_counted_and_no_fault(data):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback])
    use_scaler(trainer, 2.0**127)
    trainer.train()
    run = load_run(callback.run)
    assert run.state["skipped_steps"] > 0
    assert len(run.steps) == EPOCHS * BATCHES - run.state["skipped_steps"]
    assert run.fault is None


def test_evaluations_are_recorded_after_the_steps_before_them(data):
    callback = GradientCallback(metric=("eval_words", "maximize"))
    trainer = trainer_with(
        language_model(),
        data,
        [callback],
        eval_strategy="steps",
        eval_steps=5,
    )
    trainer.compute_metrics = lambda predicted: {"words": float(predicted.predictions[0].size)}
    trainer.train()
    logged = [one for one in trainer.state.log_history if "eval_loss" in one]
    run = load_run(callback.run)
    assert [(one.step, one.epoch) for one in run.evals] == [(5, 1), (10, 1), (15, 2), (20, 2)]
    assert [one.loss for one in run.evals] == [one["eval_loss"] for one in logged]
    assert [one.score for one in run.evals] == [one["eval_words"] for one in logged]


def test_the_score_is_by_the_metric_of_the_best_model(data):
    options = {"eval_strategy": "epoch", "metric_for_best_model": "runtime"}
    run = train(data, GradientCallback(), greater_is_better=False, **options)
    assert (run.info.metric.name, run.info.metric.direction) == ("eval_runtime", "minimize")
    assert all(np.isfinite([one.score for one in run.evals]))


def test_an_evaluation_after_the_training_is_not_of_the_run(data):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback], eval_strategy="epoch")
    trainer.train()
    trainer.evaluate()
    assert len(load_run(callback.run).evals) == EPOCHS


def test_a_resumed_training_goes_on_at_the_right_step_in_a_new_run(data):
    saving = {"save_strategy": "steps", "save_steps": 7, "optim": "adamw_torch"}
    whole = train(data, GradientCallback(), **saving)
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback], **saving)
    trainer.train(resume_from_checkpoint="out/checkpoint-7")
    after = load_run(callback.run)
    assert after.path != whole.path
    assert after.steps.step.tolist() == list(range(8, EPOCHS * BATCHES + 1))
    assert after.steps.epoch.tolist() == whole.steps.epoch[7:].tolist()
    np.testing.assert_allclose(
        after.steps.parameter_grad_norm_before_clip,
        whole.steps.parameter_grad_norm_before_clip[7:],
        rtol=1e-4,
        atol=1e-6,
    )
    assert after.labels.note == "Goes on after step 7."


class Ending(TrainerCallback):
    """Raises between two steps, where no method of the trainer's but `train` is at work."""

    def __init__(self, error):
        self.error = error

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == 4:
            raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("broken"), "failed"), (KeyboardInterrupt(), "interrupted")]
)
def test_what_ends_a_training_is_recorded(data, error, status):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback, Ending(error)])
    with pytest.raises(type(error)):
        trainer.train()
    run = load_run(callback.run)
    assert run.status == status
    assert run.steps.step.tolist() == [1, 2, 3, 4]
    assert run.state["error"] == repr(error)
    trainer.accelerator.backward(torch.ones((), requires_grad=True))  # nobody follows any more


class Breaking(InOrder):
    def compute_loss(self, *arguments, **keywords):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return super().compute_loss(*arguments, **keywords)


def test_a_callback_may_be_added_later(data):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, None)
    trainer.add_callback(callback)
    trainer.train()
    check(load_run(callback.run), plain(data))
    trainer = trainer_with(language_model(), data, None, kind=Breaking)
    trainer.add_callback(callback)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert load_run(callback.run).status == "interrupted"


def test_a_training_may_be_stopped_at_a_fault(data):
    class Spoiled(InOrder):
        def compute_loss(self, *arguments, **keywords):
            loss = super().compute_loss(*arguments, **keywords)
            return loss * (torch.nan if self.state.global_step == 2 else 1)

    callback = GradientCallback(stop_on_fault=True)
    trainer = trainer_with(language_model(), data, [callback], kind=Spoiled)
    with pytest.warns(RuntimeWarning, match="At step 3"), pytest.raises(FloatingPointError):
        trainer.train()
    run = load_run(callback.run)
    assert (run.status, run.fault.step) == ("diverged", 3)


def test_a_loss_of_the_users_own_is_recorded(data):
    def twice(outputs, labels, num_items_in_batch=None):
        logits = outputs.logits[:, :-1].reshape(-1, WORDS)
        total = cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum")
        return 2 * total / num_items_in_batch

    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback])
    trainer.compute_loss_func = twice
    trainer.train()
    first = load_run(callback.run).steps
    expected = plain(data)
    np.testing.assert_allclose(first.loss[0], 2 * expected["loss"][0], rtol=1e-5)
    np.testing.assert_allclose(
        first.parameter_grad_norm_before_clip[0], 2 * expected["before"][0], rtol=1e-4, atol=1e-6
    )


def test_the_diagnosis_knows_the_loss_and_the_end_says_where_to_look(data, capsys):
    callback = GradientCallback()
    run = train(data, callback)
    assert "NllLoss" in run.setup.loss_path
    *_, found, command = capsys.readouterr().out.splitlines()
    assert found.startswith("gradcli: 20 updates, ")
    assert command == f"gradcli inspect-gradients {callback.run}"


def test_the_same_callback_serves_one_training_after_the_other(data):
    callback = GradientCallback()
    trainer = trainer_with(language_model(), data, [callback], num_train_epochs=1)
    trainer.train()
    first = callback.run
    trainer.train()
    assert first != callback.run
    assert [load_run(one).status for one in (first, callback.run)] == ["finished"] * 2
    assert [len(load_run(one).steps) for one in (first, callback.run)] == [BATCHES] * 2


def test_an_engine_that_hides_gradients_is_refused(data, monkeypatch):
    monkeypatch.setattr("gradcli.transformers._HIDING", ("NO",))
    with pytest.raises(UserError, match="Under NO, the gradients are not where"):
        trainer_with(language_model(), data, [GradientCallback()]).train()
    assert not Path("runs").exists()


def test_outside_of_a_trainer_it_says_so():
    with pytest.raises(UserError, match="No Trainer of Transformers calls"):
        GradientCallback().on_train_begin(None, None, None)


SCRIPT = """
import sys, torch
from gradcli.extras.torchvision_import import import_torchvision
import_torchvision("datasets")
from tests.ecosystem.test_transformers_callback import InOrder, language_model, trainer_with
from gradcli.transformers import GradientCallback

rows = (torch.arange(8) * (one % 5 + 1) + one for one in range(40))
data = [{"input_ids": row % 20, "labels": row % 20} for row in rows]
options = {"per_device_train_batch_size": 2, "max_grad_norm": 0.7}
trainer_with(language_model(), data, [GradientCallback()], **options).train()
"""


def test_the_first_of_two_processes_writes_the_gradient_of_the_whole_batch(data, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    root = Path(__file__).resolve().parents[2]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *launcher, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    [run] = list_runs(tmp_path / "runs")
    steps, expected = load_run(run.path).steps, plain(data, 0.7)
    close = {"rtol": 1e-4, "atol": 1e-4 * expected["before"].max()}
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, expected["before"], **close)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, expected["after"], **close)
    assert done.stdout.count("gradcli: 20 updates") == 1
