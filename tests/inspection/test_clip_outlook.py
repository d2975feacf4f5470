"""The norms before clipping in a few numbers, against numpy on the recorded column."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import gradcli as api
from gradcli.inspection.clip_outlook import clip_outlook
from gradcli.inspection.run_summary import summarise_run
from gradcli.runs import load_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    words = ("data=mnist5k", "model.hidden=[8]", "batch_size=100", "epochs=2", "clip.max_norm=0.7")
    return api.train(*words, "device=cpu", runs_dir=tmp_path_factory.mktemp("runs"))


def test_a_run_has_the_quantiles_and_shares_of_its_column(run, gradcli):
    column = load_run(run.path).steps.grad_norm_before_clip.astype(np.float64)
    assert len(column) == 80
    answer = gradcli("runs", "show", str(run.path), "--json")
    outlook = json.loads(answer.out)["clip_outlook"]
    assert outlook["median"] == pytest.approx(np.percentile(column, 50), rel=1e-12)
    assert outlook["percent_90"] == pytest.approx(np.percentile(column, 90), rel=1e-12)
    assert outlook["largest"] == column.max()
    assert len(outlook["limits"]) == 4
    for one in outlook["limits"]:
        assert one["would_clip"] == np.count_nonzero(column > one["limit"]) / len(column)
    shares = [one["would_clip"] for one in outlook["limits"]]
    assert shares == sorted(shares, reverse=True)
    assert shares[1] >= 0.5 > shares[2]  # the median is between the middle ones


def test_a_limit_that_was_in_force_would_clip_what_it_has_clipped(tmp_path):
    """The norms of a run with clip=norm at one of the limits are those that the line judges."""
    words = ("data=mnist5k", "model.hidden=[8]", "batch_size=100", "epochs=4", "clip.max_norm=1")
    summary = summarise_run(api.train(*words, "device=cpu", runs_dir=tmp_path))
    outlook = summary.clip_outlook
    shares = dict(zip(outlook.limits, outlook.would_clip, strict=True))
    assert shares[1.0] == pytest.approx(summary.clipped_fraction, abs=1e-12)
    assert 0 < shares[1.0] < 1


@pytest.mark.parametrize(
    ("median", "limits"),
    [
        (1.93, (0.5, 1, 2, 5)),
        (1.0, (0.2, 0.5, 1, 2)),
        (9.99, (2, 5, 10, 20)),
        (0.0031, (0.001, 0.002, 0.005, 0.01)),
        (7e8, (2e8, 5e8, 1e9, 2e9)),
        (1e-45, (2e-46, 5e-46, 1e-45, 2e-45)),
    ],
)
def test_limits_are_round_numbers_on_both_sides_of_the_median(median, limits):
    assert clip_outlook(np.array([median])).limits == limits


def test_norms_that_are_not_finite_are_left_out():
    outlook = clip_outlook(np.array([3.0, math.nan, 1.0, math.inf, 2.0], dtype=np.float32))
    assert (outlook.median, outlook.largest) == (2.0, 3.0)
    assert clip_outlook(np.array([math.nan])) is None
    assert clip_outlook(np.array([])) is None


def test_gradients_that_are_all_zero_have_no_limits():
    outlook = clip_outlook(np.zeros(5))
    assert (outlook.median, outlook.percent_90, outlook.largest) == (0, 0, 0)
    assert outlook.limits == outlook.would_clip == ()
