"""A second user of the seam: a probe in a user's own package, without touching anything else."""

from __future__ import annotations

import json
import sys

import pytest

from gradcli.errors import UserError
from gradcli.probes import registry
from gradcli.probes.probe import Probe, ProbeSummary, Reading
from gradcli.probes.registry import add_probe, reading_of

#: All that a user writes.
FILE = """
from gradcli.errors import UserError
from gradcli.probes.probe import Probe, Reading, spread
from gradcli.notation import numbers


def run(target):
    if not any(True for _ in target.model.parameters()):
        raise UserError("the model has no parameters")
    return {name: float(p.detach().norm()) for name, p in target.model.named_parameters()}


def summary(norms):
    return spread(max(norms.values()), list(norms.values()))


def sentences(norms, batch_size):
    largest = max(norms, key=norms.get)
    return [f"the largest of {numbers.count(len(norms), 'parameter')} is {largest}"]


def draw(figure, norms):
    figure.add_subplot().bar(list(norms), list(norms.values()))


PROBES = (
    Probe(
        name="weight-size",
        cost="none",
        run=run,
        summary=summary,
        sentences=sentences,
        reading=Reading(meaning="largest weight norm"),
        draw=draw,
    ),
)
"""

SMALL = ("data=mnist5k", "model.hidden=[8]")
ASK = ("--allow-import", "weight_lab", "--probe", "weight-size")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """The package `weight_lab`, in the folder in which commands are typed."""
    (tmp_path / "weight_lab.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(registry, "_added", {})
    yield tmp_path
    sys.modules.pop("weight_lab", None)


def test_an_inspection_shows_it_as_text_json_and_a_picture(lab, gradcli):
    answer = gradcli("inspect-gradients", *SMALL, "examples=64", *ASK, "--plot")
    assert answer.code == 0, answer.err
    said = " ".join(answer.out.split())
    assert "weight-size the largest of 4 parameters is output.weight (cost:" in said
    assert list(lab.glob("runs/plots/*/weight_size.png"))
    answer = gradcli("inspect-gradients", *SMALL, "examples=64", *ASK, "--json")
    probes = json.loads(answer.out)["probes"]
    assert set(probes) == {"signals", "weight-size"}
    assert set(probes["weight-size"]) == {"result", "cost"}
    assert len(probes["weight-size"]["result"]) == 4


def test_a_run_makes_it_while_it_trains_and_shows_it_later(lab, gradcli):
    words = (*SMALL, "max_steps=3", "monitor.probes=[weight-size,cosine]", "--no-live")
    answer = gradcli("train", *words, "--allow-import", "weight_lab")
    assert answer.code == 0, answer.err
    assert "probes at step 0: gradient cosine" in answer.err
    assert "largest weight norm" in answer.err
    told = json.loads(gradcli("inspect-gradients", "latest", "--json").out)
    sizes = [one for one in told["probe_history"] if one["probe"] == "weight-size"]
    assert [one["step"] for one in sizes] == [0, 3]
    assert all(one["value"] == one["high"] == max(one["result"].values()) for one in sizes)
    assert "largest weight norm" in gradcli("inspect-gradients", "latest").out
    assert gradcli("inspect-gradients", "latest", "--plot").code == 0


def test_a_stored_run_is_read_without_the_package_that_probed_it(lab, gradcli, monkeypatch):
    words = (*SMALL, "max_steps=2", "monitor.probes=[weight-size]", "--quiet")
    assert gradcli("train", *words, "--allow-import", "weight_lab").code == 0
    monkeypatch.setattr(registry, "_added", {})  # another process, another day
    answer = gradcli("inspect-gradients", "latest", "--plot")
    assert answer.code == 0, answer.err
    assert "weight-size" in answer.out
    assert list(lab.glob("runs/*/plots/probe_history.png"))
    known = gradcli("inspect-gradients", "latest", "--allow-import", "weight_lab")
    assert "largest weight norm" in known.out


FAILURES = {
    "raises": ("    return 1 / 0", "ZeroDivisionError: division by zero (weight_lab.py:8)"),
    "a tensor": ("    return target.batches[0][0]", "TypeError: its result cannot be written as"),
}


def broken(lab, body):
    """Replace the body of the probe's `run`; a body starts at line 8."""
    begin, end = FILE.index("    if not any"), FILE.index("\n\n\ndef summary")
    (lab / "weight_lab.py").write_text(FILE[:begin] + body + FILE[end:])


@pytest.mark.parametrize("failure", FAILURES)
def test_one_that_fails_is_told_next_to_the_rest_of_the_inspection(lab, gradcli, failure):
    body, says = FAILURES[failure]
    broken(lab, body)
    words = ("inspect-gradients", *SMALL, "examples=64", *ASK[:-1], "weight-size,cosine")
    answer = gradcli(*words)
    assert answer.code == 2, answer.err
    said = " ".join(answer.out.split())
    assert f"failed: {says}" in said
    assert "cosine mean" in said
    answer = gradcli(*words, "--json")
    assert answer.code == 2, answer.err
    probes = json.loads(answer.out)["probes"]
    assert probes["weight-size"]["refused"].startswith(f"failed: {says}")
    assert set(probes["cosine"]) == {"result", "cost"}


def test_one_that_fails_is_told_for_each_of_several_models(lab, gradcli):
    broken(lab, "    return 1 / 0")
    words = ("inspect-gradients", *SMALL, "examples=64", *ASK, "--vary", "activation=relu,tanh")
    answer = gradcli(*words)
    assert answer.code == 2, answer.err
    said = " ".join(answer.out.split())
    for label in ("activation=relu", "activation=tanh"):
        assert f"{label}: weight-size failed: ZeroDivisionError" in said


def test_one_that_fails_leaves_the_model_as_it_was(lab, gradcli):
    words = ("inspect-gradients", *SMALL, "examples=64", *ASK[:-1], "weight-size,cosine", "--json")
    right = json.loads(gradcli(*words).out)
    spoil = "    target.model.eval()\n    next(target.model.parameters()).data.zero_()"
    broken(lab, f"{spoil}\n    return 1 / 0")
    sys.modules.pop("weight_lab")
    registry._added.clear()
    wrong = json.loads(gradcli(*words).out)
    assert "failed" in wrong["probes"]["weight-size"]["refused"]
    assert wrong["probes"]["cosine"]["result"] == right["probes"]["cosine"]["result"]
    assert wrong["layers"] == right["layers"]


@pytest.mark.parametrize("part", ["run", "summary"])
@pytest.mark.parametrize("failure", FAILURES)
def test_one_that_fails_does_not_end_a_training(lab, gradcli, failure, part):
    body, says = FAILURES[failure]
    if part == "run":
        broken(lab, body)
    else:
        says = "KeyError: 'nothing' (weight_lab.py:14)"
        text = FILE.replace("    return spread(", "    return norms['nothing'] and spread(")
        (lab / "weight_lab.py").write_text(text)
    words = (*SMALL, "max_steps=3", "monitor.probes=[weight-size,cosine]", "--no-live")
    answer = gradcli("train", *words, "--allow-import", "weight_lab")
    assert answer.code == 0, answer.err
    assert f"weight-size failed: {says}" in " ".join(answer.err.split())
    told = json.loads(gradcli("inspect-gradients", "latest", "--json").out)
    history = [(one["step"], one["probe"], one["refused"]) for one in told["probe_history"]]
    assert [(step, probe) for step, probe, _ in history] == [
        (step, probe) for step in (0, 3) for probe in ("cosine", "weight-size")
    ]
    assert all(
        reason.startswith(f"failed: {says}") if probe == "weight-size" else reason is None
        for _, probe, reason in history
    )
    assert "weight-size failed: " in gradcli("inspect-gradients", "latest").out


def test_a_shipped_one_that_fails_is_a_bug_and_says_where(lab, gradcli, monkeypatch):
    def fail(model, inputs, targets, loss):
        raise RuntimeError("a bug")

    monkeypatch.setattr("gradcli.probes.histograms.gradient_histograms", fail)
    answer = gradcli("inspect-gradients", *SMALL, "examples=64", "--probe", "histograms")
    assert answer.code == 1, answer.err
    assert "failed: RuntimeError: a bug (" in " ".join(answer.out.split())


def test_all_includes_it(lab, gradcli):
    answer = gradcli(
        *("inspect-gradients", *SMALL, "examples=64", "--allow-import", "weight_lab"),
        *("--probe", "all", "--json"),
    )
    assert "weight-size" in json.loads(answer.out)["probes"]


def test_without_being_allowed_it_is_unknown(lab, gradcli):
    answer = gradcli("inspect-gradients", *SMALL, "--probe", "weight-size")
    assert answer.code == 2
    assert "There is no probe 'weight-size'" in answer.err


def test_no_package_is_imported_for_a_probe_that_ships(lab, gradcli):
    words = ("examples=64", "--allow-import", "weight_lab", "--probe", "histograms")
    assert gradcli("inspect-gradients", *SMALL, *words).code == 0
    assert "weight_lab" not in sys.modules


def a_probe(name):
    return Probe(
        name=name,
        cost="",
        run=lambda target: 1.0,
        summary=ProbeSummary,
        sentences=lambda result, batch_size: [""],
        reading=Reading(meaning="one"),
    )


def test_two_probes_of_one_name_are_an_error(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    mine = a_probe("mine")
    add_probe(mine)
    add_probe(mine)
    assert reading_of("mine").meaning == "one"
    for name in ("mine", "noise"):
        with pytest.raises(UserError, match=f"two probes called '{name}'"):
            add_probe(a_probe(name))


def test_probes_that_are_none_are_an_error(lab, gradcli):
    (lab / "weight_lab.py").write_text("PROBES = ['weight-size']\n")
    answer = gradcli("inspect-gradients", *SMALL, *ASK)
    assert answer.code == 2
    assert "weight_lab.PROBES" in answer.err


def test_probes_are_known_without_torch(spawn):
    """A picture or a stored run must not wait for it."""
    program = (
        "import sys, gradcli.probes.registry, gradcli.views.draw.inspection_figures;"
        "import gradcli.views.inspect.inspection_screen;"
        "print([name for name in ('torch', 'scipy', 'matplotlib') if name in sys.modules])"
    )
    answer = spawn("-c", program)
    assert answer.out.strip() == "[]", answer.err
