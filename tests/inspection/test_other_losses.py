"""The verdict on real trainings under losses other than a cross-entropy of even classes."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli as package
from gradcli.diagnosis import examine
from gradcli.inspection.assemble import verdict
from gradcli.inspection.run_summary import gather_evidence
from gradcli.records import UNKNOWN_LEVELS

COUNT = 900


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INPUTS, WEIGHTS = drawn(0, COUNT, 8), drawn(1, 8, 1)
SCORES = INPUTS @ WEIGHTS
NUMBERS = torch.tanh(SCORES) + 0.5 * INPUTS[:, :1] * INPUTS[:, 1:2]
NUMBERS = (NUMBERS - NUMBERS.mean()) / NUMBERS.std()
NOISE = drawn(2, COUNT, 1)
RARE = (SCORES + 0.3 * drawn(3, COUNT, 1) > SCORES.quantile(0.97)).float()
RARE_NOISE = (drawn(4, COUNT, 1) > 1.88).float()  # 3%
CLASSES = (INPUTS @ drawn(5, 8, 4)).argmax(1)
CLASS_NOISE = torch.randint(0, 4, (COUNT,), generator=torch.Generator().manual_seed(6))
#: Each token follows from the one before it, but for three of ten.
TOKENS = torch.randint(0, 12, (300, 9), generator=torch.Generator().manual_seed(7))
TOKEN_NOISE = TOKENS.clone()
for position in range(1, 9):
    follows = drawn(position, 300) < 0.5
    TOKENS[follows, position] = (3 * TOKENS[follows, position - 1] + 1) % 12


def network(outputs=1, last=nn.Identity):
    return lambda: nn.Sequential(
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, outputs), last()
    )


def linear():
    return nn.Linear(8, 1)


def linear_from_zero():
    model = nn.Linear(8, 1)
    nn.init.zeros_(model.weight)
    return model


def tokens():
    return nn.Sequential(nn.Embedding(12, 16), nn.Linear(16, 12))


def squares_and_more(outputs, targets):
    return F.mse_loss(outputs, targets) + 100


ADAM = ("optimizer=adam", "optimizer.lr=0.005", "epochs=8")
SLOW = ("optimizer=sgd", "optimizer.lr=1e-5", "epochs=4")
WILD = ("optimizer=sgd", "optimizer.lr=5", "clip=none", "epochs=4")
UNSURE = {"undetermined"}
NOTHING = {"plateau", "labels"} | UNSURE


@pytest.mark.parametrize(
    ("model", "inputs", "targets", "loss", "how", "right"),
    [
        # All is well.
        (network(), INPUTS, NUMBERS, "mse", ADAM, {"healthy"}),
        (network(), INPUTS, NUMBERS, "l1", ADAM, {"healthy"}),
        (network(), INPUTS, NUMBERS, F.mse_loss, ADAM, {"healthy"}),
        (network(), INPUTS, NUMBERS, nn.MSELoss(), ADAM, {"healthy"}),
        (network(), INPUTS, (SCORES > 0).float(), "bce_with_logits", ADAM, {"healthy"}),
        (tokens, TOKENS[:, :-1], TOKENS[:, 1:], "next_token", ADAM, {"healthy"}),
        (network(4), INPUTS, CLASSES, "cross_entropy", ADAM, {"healthy"}),
        (network(4), INPUTS, INPUTS[:, :4].softmax(1), "cross_entropy", ADAM, {"healthy"} | UNSURE),
        (linear_from_zero, INPUTS, SCORES + NOISE, "mse", ADAM, {"healthy"}),
        # Nor may anything be said of these.
        (network(), INPUTS, NUMBERS, squares_and_more, ADAM, UNSURE),
        (network(), INPUTS, RARE, "bce_with_logits", ADAM, {"healthy"} | UNSURE),
        (network(2), INPUTS, RARE[:, 0].long(), "cross_entropy", ADAM, {"healthy"} | UNSURE),
        (network(), INPUTS, 0.3 * NUMBERS + NOISE, "mse", ADAM, {"healthy"} | UNSURE),
        # There is nothing to learn.
        (network(), INPUTS, NOISE, "mse", ADAM, NOTHING),
        (network(), INPUTS, NOISE, "mse", (*ADAM, "epochs=40"), NOTHING),
        (network(), INPUTS, NOISE, "l1", ADAM, NOTHING),
        (linear, INPUTS, NOISE, "mse", (*ADAM, "batch_size=4", "epochs=2"), NOTHING),
        (network(), INPUTS, RARE_NOISE, "bce_with_logits", ADAM, NOTHING),
        (tokens, TOKEN_NOISE[:, :-1], TOKEN_NOISE[:, 1:], "next_token", ADAM, NOTHING),
        (network(4), INPUTS, CLASS_NOISE, "cross_entropy", ADAM, NOTHING),
        (network(2), INPUTS, RARE_NOISE[:, 0].long(), "cross_entropy", ADAM, NOTHING),
        (network(), INPUTS, 0 * NUMBERS + 3, "mse", ADAM, {"labels"}),
        # Nothing can be learnt from these.
        (network(), 0 * INPUTS, NUMBERS, "mse", ADAM, {"unscaled-inputs"}),
        (network(4), 0 * INPUTS, CLASSES, "cross_entropy", ADAM, {"unscaled-inputs"}),
        (network(), INPUTS, NUMBERS + 1000, "mse", ADAM, {"loss-scale"}),
        (network(last=nn.Sigmoid), INPUTS, NUMBERS - 5, "mse", ADAM, {"saturated"}),
        # The steps are too small, or too large.
        (linear, INPUTS, SCORES, "mse", SLOW, {"lr-too-low"}),
        (network(), INPUTS, NUMBERS, "l1", SLOW, {"lr-too-low"}),
        (network(), INPUTS, RARE, "bce_with_logits", SLOW, {"lr-too-low"}),
        (tokens, TOKENS[:, :-1], TOKENS[:, 1:], "next_token", SLOW, {"lr-too-low"}),
        (network(), INPUTS, NUMBERS, squares_and_more, SLOW, {"lr-too-low"} | UNSURE),
        (linear, INPUTS, SCORES, "mse", (*SLOW, "optimizer.lr=1e-3"), {"lr-too-low"} | UNSURE),
        (linear, INPUTS, SCORES, "mse", WILD, {"lr-too-high"}),
        (network(), INPUTS, NUMBERS, "mse", WILD, {"lr-too-high"}),
        (network(), INPUTS, NUMBERS, squares_and_more, WILD, {"lr-too-high"}),
        (network(), INPUTS, NUMBERS, "l1", (*ADAM, "optimizer.lr=1"), {"lr-too-high"} | UNSURE),
    ],
)
def test_the_verdict_is_right_or_not_sure(model, inputs, targets, loss, how, right, tmp_path):
    problem = package.Problem(model=model, train=(inputs, targets), loss=loss)
    size = () if any(one.startswith("batch_size") for one in how) else ("batch_size=32",)
    run = package.train(problem, *how, *size, "threads=1", "device=cpu", runs_dir=tmp_path)
    found = examine(gather_evidence(run, run.steps))
    assert verdict(found) in right, [one.message for one in found.findings]
    for one in found.findings:
        is_cross_entropy = loss == "cross_entropy"
        assert is_cross_entropy or one.certainty != one.certainty  # measured there alone


def test_a_fresh_model_whose_inputs_are_all_zero_is_not_healthy(tmp_path):
    problem = package.Problem(model=network(), train=(0 * INPUTS, NUMBERS), loss="mse")
    inspection = package.inspect(problem, runs_dir=tmp_path)
    assert inspection.verdict == "unscaled-inputs"
    assert "All inputs are 0" in inspection.findings[0].message


def test_what_guessing_costs_is_in_the_run_and_of_an_earlier_run_unknown(tmp_path):
    problem = package.Problem(
        model=linear,
        train=(INPUTS[:600], NUMBERS[:600]),
        val=(INPUTS[600:750], NUMBERS[600:750]),
        test=(INPUTS[750:], NUMBERS[750:]),
        loss="mse",
    )
    run = package.train(problem, "max_steps=20", "device=cpu", runs_dir=tmp_path)
    levels = run.info.levels
    assert levels.guessing == pytest.approx(float(NUMBERS[:600].var(correction=0)))
    assert levels.guessing_val == pytest.approx(float(NUMBERS[600:750].var(correction=0)))
    assert (levels.lowest, levels.chance) == (0, levels.guessing)
    file = run.path / "run.json"
    stored = json.loads(file.read_text())
    assert "levels" not in stored["info"]  # an earlier gradcli refuses keys that it does not know
    del stored["loss_levels"]
    file.write_text(json.dumps(stored))
    assert package.load_run(run.path).info.levels == UNKNOWN_LEVELS
