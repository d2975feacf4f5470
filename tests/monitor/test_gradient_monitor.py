"""`GradientMonitor`: somebody's own loop becomes a run that every command reads."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcli import GradientMonitor, UserError, load_run
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import Metric

STEPS = 12


@pytest.fixture
def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def one_step(model, optimizer, monitor, *, factor=1.0, **options):
    loss = nn.functional.cross_entropy(model(torch.randn(4, 6)), torch.randint(3, (4,))) * factor
    optimizer.zero_grad()
    loss.backward()
    monitor.step(loss, **options)
    nn.utils.clip_grad_norm_(model.parameters(), 0.2)
    optimizer.step()
    return loss.item()


@pytest.fixture
def finished(parts, runs_dir):
    """A run of two epochs with evaluations; the losses; where runs are kept."""
    model, optimizer = parts
    losses = []
    with GradientMonitor(model, optimizer, name="mine", every=4) as monitor:
        for epoch in (1, 2):
            losses += [one_step(model, optimizer, monitor, epoch=epoch) for _ in range(STEPS // 2)]
            monitor.evaluation(loss=0.5 / epoch, accuracy=0.4 * epoch)
        monitor.evaluation(split="test", accuracy=0.75)
    return monitor.run, losses


def test_the_run_holds_what_happened(finished):
    path, losses = finished
    run = load_run(path)
    assert run.status == "finished"
    assert run.path.name.split("-")[1] == "mine"
    columns = run.columns()
    assert columns["step"].tolist() == list(range(1, STEPS + 1))
    assert columns["epoch"].tolist() == [1] * 6 + [2] * 6
    np.testing.assert_allclose(columns["loss"], losses, rtol=1e-6)
    np.testing.assert_allclose(columns["grad_norm_after_clip"], 0.2, rtol=1e-4)
    assert [record.step for record in run.layer_records] == [1, 2, 3, 5, 9, 10]
    validation = [record for record in run.evals if record.split == "val"]
    assert [(record.step, record.epoch, record.loss) for record in validation] == [
        (6, 1, 0.5),
        (12, 2, 0.25),
    ]
    np.testing.assert_allclose(
        [record.train_loss for record in validation],
        [np.mean(losses[:6]), np.mean(losses[6:])],
        rtol=1e-6,
    )
    info = run.info
    assert (info.data.name, info.model, info.optimizer) == ("own", "Sequential", "SGD")
    assert (info.model_size, info.learning_rate) == (6 * 8 + 8 + 8 * 3 + 3, 0.1)


def test_the_summary_is_that_of_a_run(finished):
    path, losses = finished
    summary = summarise_run(load_run(path))
    assert (summary.steps, summary.epochs) == (STEPS, 2)
    assert (summary.val_score, summary.test_score) == (0.8, 0.75)
    assert summary.train_loss == pytest.approx(np.mean(losses[6:]), rel=1e-6)
    assert summary.clipped_fraction == 1.0
    assert summary.seconds_total > 0
    assert [layer.name for layer in summary.layers] == ["0", "2"]
    assert all(0 < layer.update_ratio < 1 for layer in summary.layers)


def test_every_command_reads_it(finished, gradcli, runs_dir):
    path, _ = finished
    (row,) = json.loads(gradcli("runs", "list", "--json").out)["runs"]
    assert (row["run"], row["data"], row["status"]) == (path.name, "own", "finished")
    assert path.name in gradcli("runs", "list").out

    shown = gradcli("runs", "show", "latest")
    assert shown.code == 0
    assert f"finished  {path.name}" in shown.out
    assert "own data, Sequential 83 parameters, SGD 0.1, cpu, 1 thread" in shown.out
    assert "2 epochs, 12 steps, 100% of steps clipped" in shown.out
    assert "nan" not in shown.out
    result = json.loads(gradcli("runs", "show", "latest", "--json").out)
    assert (result["steps"], result["status"]) == (12, "finished")

    exported = gradcli("runs", "export", "latest", "--format", "csv").out.splitlines()
    assert len(exported) == 1 + STEPS
    resumed = gradcli("train", "--resume", str(path))
    assert resumed.code == 2
    assert "your own loop" in resumed.message


def test_groups_with_rates_of_their_own(runs_dir, gradcli):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    runs = []
    for last in (0.5, 0.25):
        groups = [
            {"params": model[0].parameters()},
            {"params": model[2].parameters(), "lr": last, "weight_decay": 0.01},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.125, momentum=0.9)
        with GradientMonitor(model, optimizer, runs_dir=runs_dir) as monitor:
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(torch.ones(4, 3)).square().mean()
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        runs.append(load_run(monitor.run))
    assert runs[0].info.loop_rates == (0.125, 0.5)
    assert "SGD 2 rates 0.125 to 0.5," in gradcli("runs", "show", runs[0].name).out
    assert "SGD 2 rates 0.125 to 0.5" in gradcli("inspect-gradients", runs[0].name).out
    # What is not the same in all groups is recorded of each.
    settings = runs[0].state["settings"]
    assert (settings["momentum"], settings["groups.2.lr"]) == (0.9, 0.5)
    assert (settings["groups.1.weight_decay"], settings["groups.2.weight_decay"]) == (0, 0.01)
    assert "lr" not in settings
    said = json.loads(gradcli("runs", "diff", *(run.name for run in runs), "--json").out)
    assert said["settings"] == [{"key": "groups.2.lr", "a": 0.5, "b": 0.25}]


def test_without_epochs_evaluations_or_a_learning_rate(parts, runs_dir, gradcli):
    class Signs(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {})

        @torch.no_grad()
        def step(self, closure=None):
            for parameter in self.param_groups[0]["params"]:
                parameter.sub_(parameter.grad.sign(), alpha=0.01)

    model, _ = parts
    optimizer = Signs(model.parameters())
    monitor = GradientMonitor(model, optimizer)
    one_step(model, optimizer, monitor)
    monitor.close()
    shown = gradcli("runs", "show", "latest")
    assert shown.code == 0
    assert "Sequential 83 parameters, Signs, cpu" in shown.out
    assert "nan" not in shown.out
    assert json.loads(gradcli("runs", "show", "latest", "--json").out)["optimizer"]["lr"] == "nan"


def test_a_run_can_be_read_while_it_trains(parts, runs_dir):
    model, optimizer = parts
    with GradientMonitor(model, optimizer) as monitor:
        one_step(model, optimizer, monitor)
        run = load_run(monitor.run)
        assert run.status == "running"
        assert len(run.steps) == 1
        assert summarise_run(run).steps == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError, "failed"), (KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted")],
)
def test_what_ends_the_loop_is_recorded_and_propagates(parts, runs_dir, error, status):
    model, optimizer = parts
    with pytest.raises(error), GradientMonitor(model, optimizer) as monitor:
        one_step(model, optimizer, monitor)
        raise error
    run = load_run(monitor.run)
    assert run.status == status
    assert len(run.steps) == 1
    assert error.__name__ in run.state["error"]
    assert not model._forward_pre_hooks


def test_a_fault_warns_once_and_training_continues(parts, runs_dir, gradcli):
    model, optimizer = parts
    with (
        pytest.warns(
            RuntimeWarning, match=r"At step 3, the first non-finite value .* was the loss"
        ) as warned,
        GradientMonitor(model, optimizer) as monitor,
    ):
        for step in range(1, 6):
            one_step(model, optimizer, monitor, factor=math.nan if step == 3 else 1.0)
    assert len(warned) == 1
    run = load_run(monitor.run)
    assert run.status == "diverged"
    assert (run.fault.step, run.fault.phase) == (3, "loss")
    assert np.isnan(run.columns()["loss"]).tolist() == [False, False, True, True, True]
    assert summarise_run(run).steps == 5
    shown = gradcli("runs", "show", "latest")
    assert "first in the loss" in shown.out
    assert "training examples" not in shown.out
    assert "try " not in shown.out  # no override can change a user's own loop
    assert "The update was skipped" not in shown.out
    (finding,) = json.loads(gradcli("runs", "show", "latest", "--json").out)["findings"]
    assert (finding["code"], finding["try"]) == ("non-finite", None)


def test_a_fault_that_the_loop_survives_is_not_a_divergence(parts, runs_dir):
    model, optimizer = parts
    with pytest.warns(RuntimeWarning), GradientMonitor(model, optimizer) as monitor:
        one_step(model, optimizer, monitor)
        loss = model(torch.full((2, 6), math.inf)).sum()
        optimizer.zero_grad()
        loss.backward()
        monitor.step(loss)  # and no update: the loop has its own guard
        last = [one_step(model, optimizer, monitor) for _ in range(2)]
    run = load_run(monitor.run)
    assert run.status == "finished"
    assert (run.fault.step, run.fault.phase, run.fault.tensor) == (2, "inputs", "input")
    assert run.columns()["step"].tolist() == [1, 2, 3]
    assert summarise_run(run).train_loss == pytest.approx(np.mean(run.columns()["loss"]))
    np.testing.assert_allclose(run.columns()["loss"][1:], last, rtol=1e-6)


def test_a_loop_may_be_stopped_at_a_fault(parts, runs_dir):
    model, optimizer = parts
    weights = None
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(FloatingPointError, match=r"At step 2, .* was the loss"),
        GradientMonitor(model, optimizer, stop_on_fault=True) as monitor,
    ):
        one_step(model, optimizer, monitor)
        weights = [parameter.detach().clone() for parameter in model.parameters()]
        one_step(model, optimizer, monitor, factor=math.inf)
    assert all(map(torch.equal, weights, model.parameters()))
    run = load_run(monitor.run)
    assert run.status == "diverged"
    assert run.columns()["step"].tolist() == [1, 2]
    assert run.columns()["loss"][1] == math.inf
    assert summarise_run(run).steps == 1


def test_a_resumed_training_is_counted_from_where_it_was(parts, runs_dir):
    model, optimizer = parts
    with GradientMonitor(model, optimizer, start_step=40, every=4) as monitor:
        for _ in range(6):
            one_step(model, optimizer, monitor)
        monitor.evaluation(loss=1.0)
    run = load_run(monitor.run)
    assert run.columns()["step"].tolist() == [41, 42, 43, 44, 45, 46]
    assert [record.step for record in run.layer_records] == [41, 42, 43, 45]
    assert [record.step for record in run.setups] == [40, 41, 42, 44]
    assert [record.step for record in run.evals] == [46]
    assert run.info.start_step == 40
    assert not run.damage
    assert monitor.summary.steps == 46
    assert monitor.summary.findings == summarise_run(run).findings


def test_a_fault_of_a_resumed_training_has_its_number_in_every_message(parts, runs_dir):
    model, optimizer = parts
    with (
        pytest.warns(RuntimeWarning, match="At step 42, "),
        pytest.raises(FloatingPointError, match="At step 42, "),
        GradientMonitor(model, optimizer, stop_on_fault=True, start_step=40) as monitor,
    ):
        one_step(model, optimizer, monitor)
        one_step(model, optimizer, monitor, factor=math.inf)
    run = load_run(monitor.run)
    assert (run.fault.step, run.status) == (42, "diverged")
    assert monitor.summary.steps == 41


def test_updates_that_a_scaler_leaves_out_are_counted_in_the_run(parts, runs_dir):
    model, optimizer = parts
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    with GradientMonitor(model, optimizer, scaler=scaler) as monitor:
        for _ in range(20):
            loss = (model(torch.randn(4, 6)) * 1e3).square().sum() * 1e-3
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            monitor.step(loss)
            scaler.step(optimizer)
            scaler.update()
    run = load_run(monitor.run)
    assert run.status == "finished"
    assert run.fault is None
    assert run.state["skipped_steps"] > 0
    assert run.state["skipped_steps"] + len(run.steps) == 20
    assert run.state["skipped_steps"] == 126 - math.log2(scaler.get_scale())


def test_after_close(parts, runs_dir):
    model, optimizer = parts
    monitor = GradientMonitor(model, optimizer)
    one_step(model, optimizer, monitor)
    monitor.close()
    monitor.close()
    for use in (lambda: monitor.step(1.0), monitor.evaluation, monitor.__enter__):
        with pytest.raises(UserError, match="closed"):
            use()
    optimizer.step()  # is the user's alone again
    assert len(load_run(monitor.run).steps) == 1


def test_a_run_without_a_step(parts, runs_dir, gradcli):
    with GradientMonitor(*parts) as monitor:
        pass
    assert gradcli("runs", "show", str(monitor.run)).code == 0


def test_where_runs_are_kept(parts, runs_dir, tmp_path, monkeypatch):
    with GradientMonitor(*parts) as monitor:
        assert monitor.run.parent == runs_dir
    with GradientMonitor(*parts, runs_dir=tmp_path / "else") as monitor:
        assert monitor.run.parent == tmp_path / "else"
    monkeypatch.delenv("GRADCLI_RUNS")
    monkeypatch.chdir(tmp_path)
    with GradientMonitor(*parts) as monitor:
        assert str(monitor.run.parent) == "runs"


def test_refusals_leave_nothing_behind(parts, runs_dir, tmp_path):
    model, optimizer = parts
    stranger = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(UserError, match="none of the model's"):
        GradientMonitor(model, stranger)
    with pytest.raises(UserError, match="directory's name"):
        GradientMonitor(model, optimizer, name="a/b")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        GradientMonitor(model, optimizer, runs_dir=tmp_path / "file")
    assert not runs_dir.exists()
    assert not model._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks


def test_of_several_processes_the_first_alone_writes(parts, runs_dir, monkeypatch):
    from torch import distributed

    model, optimizer = parts
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    with GradientMonitor(model, optimizer) as monitor:
        one_step(model, optimizer, monitor)
        monitor.evaluation(loss=1.0)
    assert monitor.run is None
    assert not runs_dir.exists()
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    with GradientMonitor(model, optimizer) as monitor:
        one_step(model, optimizer, monitor)
    assert len(load_run(monitor.run).steps) == 1


def test_one_process_asks_nothing_about_others_in_its_steps(parts, runs_dir, monkeypatch):
    model, optimizer = parts
    asked = []
    with GradientMonitor(model, optimizer, every=2) as monitor:
        for name in ("is_available", "is_initialized", "get_rank", "get_world_size", "all_reduce"):
            monkeypatch.setattr(torch.distributed, name, lambda *_, name=name: asked.append(name))
        for _ in range(STEPS):
            one_step(model, optimizer, monitor)
        assert asked == []
    assert len(load_run(monitor.run).steps) == STEPS


def test_a_loop_scores_by_a_metric_of_its_own(runs_dir):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with GradientMonitor(model, optimizer, metric=("perplexity", "minimize")) as monitor:
        loss = model(torch.ones(4, 2)).square().mean()
        loss.backward()
        monitor.step(loss)
        optimizer.step()
        monitor.evaluation(loss=1.0, score=2.7)
        with pytest.raises(UserError, match="perplexity, not the accuracy"):
            monitor.evaluation(accuracy=0.5)
    run = load_run(monitor.run)
    assert run.info.metric == Metric("perplexity", "minimize")
    assert [one.score for one in run.evals] == [2.7]


@pytest.mark.parametrize("metric", ["perplexity", ("perplexity", "down"), ("", "minimize")])
def test_a_metric_has_a_name_and_a_direction(runs_dir, metric):
    model = nn.Linear(2, 1)
    with pytest.raises(UserError, match="a name and a direction"):
        GradientMonitor(model, torch.optim.SGD(model.parameters(), lr=0.1), metric=metric)
