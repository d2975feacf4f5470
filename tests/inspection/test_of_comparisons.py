"""An inspection of a comparison: one trial of each arm, side by side."""

from __future__ import annotations

import math
import shlex

import pytest

from gradcli.engines import opened_engines
from gradcli.errors import UserError
from gradcli.inspection.inspection import SideBySide
from gradcli.runs import find_comparison
from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.workflows.compare import run_comparison


@pytest.fixture(scope="module")
def comparison(paths):
    """SGD with a learning rate that is far too high, and Adam with its own."""
    words = ["data=mnist5k", "optimizers=[sgd,adam]", "max_steps=40", "epochs=2", "engine.jobs=1"]
    words += ["protocol.tune=false", "protocol.seeds=1", "optimizer.lr=0.002", "monitor.every=5"]
    words += ["checkpoint.keep=last"]  # a trial of each arm is probed
    with opened_engines(words) as open_engine:
        summary = run_comparison(words, [], paths, QuietCompareView(), open_engine)
    return find_comparison(summary.info.path, paths.runs_dir)


def test_the_arms_stand_side_by_side(comparison, inspect):
    found = inspect(target=comparison.path)
    assert isinstance(found, SideBySide)
    assert (found.kind, found.target) == ("comparison", shlex.quote(str(comparison.path)))
    assert [one.label for one in found.inspections] == ["sgd", "adam"]
    assert {one.optimizer for one in found.inspections} == {"sgd", "adam"}
    assert all(one.step == 40 for one in found.inspections)
    slow, well = found.inspections
    assert slow.convergence.last_loss > 2 * well.convergence.last_loss
    assert found.findings


def test_each_arm_gets_a_verdict_from_what_its_trials_record_by_default(paths, inspect):
    """Also one that only diverged, of which no learning rate is measured."""
    words = ["data=mnist5k", "optimizers=[sgd]", "max_steps=60", "epochs=2", "engine.jobs=1"]
    words += ["lrs=[0.1,0.2]", "protocol.seeds=1", "seed=3", "clip=none", "model.hidden=[8]"]
    with opened_engines(words) as open_engine:
        vary = ["optimizer.weight_decay=0,1e30"]
        summary = run_comparison(words, vary, paths, QuietCompareView(), open_engine)
    found = inspect(target=summary.info.path)
    assert [one.label for one in found.inspections] == [arm.name for arm in summary.info.arms]
    well, dead = found.inspections
    assert "undetermined" not in (well.verdict, dead.verdict)
    assert not any(math.isnan(layer.update_ratio) for layer in well.layers)
    assert dead.status == "diverged"
    assert dead.verdict == "weight-decay-too-strong"


def test_the_checkpoints_of_trials_can_be_probed(comparison, inspect):
    found = inspect("probes=[signals]", "examples=64", target=comparison.path)
    assert {one.kind for one in found.inspections} == {"checkpoint"}


def test_a_comparison_without_a_trial_is_a_clear_error(comparison, inspect, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "comparison.json").write_text((comparison.path / "comparison.json").read_text())
    with pytest.raises(UserError, match="No trial"):
        inspect(target=bare)
