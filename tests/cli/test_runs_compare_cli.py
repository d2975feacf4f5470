"""`gradcli runs compare`, `list` and `label`, on runs of `train`, of a comparison and of a loop."""

import json
import shlex

import numpy as np
import pytest
import torch
from scipy import stats

import gradcli as package
from gradcli.runs import list_runs, load_run

SMALL = ("data=mnist5k", "model.hidden=[8]", "max_steps=12", "threads=1")
SEEDS = (1, 2, 3)


def own_loop(folder, name, rate, seed):
    """Train a loop of one's own on noise that depends on the seed."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(6, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    with package.GradientMonitor(model, optimizer, name=name, runs_dir=folder, tags=[name]) as seen:
        for _ in range(20):
            inputs = torch.randn(8, 6)
            loss = torch.nn.functional.cross_entropy(model(inputs), (inputs[:, 0] > 0).long())
            optimizer.zero_grad()
            loss.backward()
            seen.step(loss)
            optimizer.step()
        seen.evaluation(accuracy=float(torch.rand(())), split="test")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three seeds of two optimizers, a comparison of them, and loops of one's own."""
    folder = tmp_path_factory.mktemp("sets") / "runs"
    for seed in SEEDS:
        for optimizer in ("sgd", "adam"):
            package.train(
                *SMALL, optimizer=optimizer, seed=seed, name=f"{optimizer}-{seed}",
                runs_dir=folder, tags=[optimizer], note=f"seed {seed}",
            )  # fmt: skip
    package.compare(
        *SMALL, "protocol.tune=false", optimizers=["sgd", "adam"], seeds=3, jobs=1, name="both",
        engine=None, runs_dir=folder, tags=["compared"],
    )  # fmt: skip
    for seed in SEEDS:
        own_loop(folder, "hot", 0.5, seed)
        own_loop(folder, "cold", 0.01, seed)
    return folder


@pytest.fixture
def compare(home, gradcli, monkeypatch):
    """Compare sets, and return the JSON object."""
    monkeypatch.setenv("GRADCLI_RUNS", str(home))

    def run(*words):
        answer = gradcli("runs", "compare", *words, "--json")
        assert answer.code == 0, answer.err
        return json.loads(answer.out)

    return run


def scores(home, optimizer):
    runs = {run.row().name: run for run in list_runs(home)}
    return [runs[f"{optimizer}-{seed}"].row().test_score for seed in SEEDS]


@pytest.mark.parametrize("sets", [("sgd-*", "adam-*"), ("tag=sgd", "optimizer=adam kind=run")])
def test_runs_of_train_are_compared_seed_by_seed(home, compare, sets):
    found = compare(*sets)
    (pair,) = found["pairs"]
    expected = stats.ttest_rel(scores(home, "sgd"), scores(home, "adam"))
    assert (found["by"], pair["paired"], pair["runs"]) == ("test", True, [3, 3])
    assert pair["p_adjusted"] == pytest.approx(expected.pvalue)
    by_set = {one["set"]: one for one in found["sets"]}
    assert by_set[sets[0]]["mean"] == pytest.approx(np.mean(scores(home, "sgd")))
    assert {one["settings"]["optimizer"] for one in found["sets"]} == {"sgd", "adam"}
    assert not any(one["mixed"] for one in found["sets"])


def test_they_are_compared_as_independent_runs_if_that_is_asked_for(home, compare):
    (pair,) = compare("sgd-*", "adam-*", "--pairing", "none")["pairs"]
    expected = stats.ttest_ind(scores(home, "sgd"), scores(home, "adam"), equal_var=False)
    assert pair["p_adjusted"] == pytest.approx(expected.pvalue)


def test_arms_of_a_comparison_have_the_verdict_of_its_seeds(home, compare):
    name = next(path.name for path in home.iterdir() if "-both-" in path.name)
    found = compare(f"{name}:sgd", f"{name}:adam")
    (pair,) = found["pairs"]
    runs = {one["set"]: [load_run(run["path"]) for run in one["runs"]] for one in found["sets"]}
    assert {len(some) for some in runs.values()} == {3}
    assert pair["paired"]
    by_seed = [
        [run["score"] for run in sorted(one["runs"], key=lambda run: run["seed"])]
        for one in found["sets"]
    ]
    assert pair["p_adjusted"] == pytest.approx(stats.ttest_rel(*by_seed).pvalue)


def test_a_comparison_is_found_by_a_part_of_its_name_and_asks_for_an_arm(home, compare, gradcli):
    found = compare("both:sgd", "both:adam")
    assert [len(one["runs"]) for one in found["sets"]] == [3, 3]
    answer = gradcli("runs", "compare", "both", "sgd-*")
    assert answer.code == 2
    assert "A set is one of its arms." in answer.message
    (name,) = (path.name for path in home.iterdir() if "-both-" in path.name)
    assert f"gradcli runs compare {name}:sgd {name}:adam" in answer.message


def test_loops_of_ones_own_are_compared_by_what_they_were_told(home, compare):
    found = compare("tag=hot", "tag=cold")
    (pair,) = found["pairs"]
    of = {run.path.name: run.row().test_score for run in list_runs(home) if not run.has_overrides}
    hot, cold = ([score for name, score in of.items() if word in name] for word in ("hot", "cold"))
    assert not pair["paired"]
    assert pair["p_adjusted"] == pytest.approx(stats.ttest_ind(hot, cold, equal_var=False).pvalue)
    assert any("your own loop" in one for one in found["cautions"])


def test_the_training_loss_is_the_mean_over_the_last_tenth_of_the_steps(home, compare):
    found = compare("hot", "sgd-*", "--by", "train_loss")
    assert found["metric"]["name"] == "train loss, last tenth of steps"
    for one in found["sets"]:
        for run in one["runs"]:
            loss = np.asarray(load_run(run["path"]).steps.loss, dtype=np.float64)
            assert run["score"] == pytest.approx(loss[-max(len(loss) // 10, 1) :].mean(), rel=1e-6)


def test_single_runs_whose_further_seeds_are_there_are_compared_with_them(home, compare, gradcli):
    found = compare("sgd-1", "adam-1")  # a single run of each has no verdict
    assert found["pairs"][0]["evidence"] == "none"
    assert [one for one in found["next"] if "diff" not in one] == [
        "gradcli runs compare 'sgd-*' 'adam-*'"
    ]
    answer = gradcli(*shlex.split(found["next"][0])[1:], "--json")
    assert [len(one["runs"]) for one in json.loads(answer.out)["sets"]] == [3, 3]
    assert gradcli(*shlex.split(found["next"][-1])[1:]).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sgd-*",), "two different sets"),
        (("sgd-*", "sgd-*"), "two different sets"),
        (("sgd-*", "tag=sgd"), "is in two sets"),
        (("sgd-*", "adm-*"), "No run in"),
        (("sgd-*", "optimzer=adam"), "No run has a key"),
        (("sgd-*", "hot", "--pairing", "seed"), "cannot be paired"),
        (("sgd-*", "adam-*", "--by", "accuracy"), "not one of"),
        (("sgd-*", "adam-*", "--plot", "x.doc"), "no name of a picture"),
        (("sgd-*", "adam-*", "--plot", "nowhere/x.png"), "does not exist"),
        (("sgd-*", " "), "no name"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(home, gradcli, monkeypatch, words, said):
    monkeypatch.setenv("GRADCLI_RUNS", str(home))
    answer = gradcli("runs", "compare", *words)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert "try:" in answer.err or "hint" in answer.err


def test_other_data_and_other_metrics_are_refused(tmp_path, gradcli, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path))
    package.train(*SMALL, name="digits", runs_dir=tmp_path)
    package.train("data=mnist1d", "max_steps=4", name="other", runs_dir=tmp_path)
    package.train(*SMALL, "data.val=1000", name="split", runs_dir=tmp_path)
    answer = gradcli("runs", "compare", "digits", "other")
    assert answer.code == 2
    assert "different data: mnist5k and mnist1d" in " ".join(answer.err.split())
    answer = gradcli("runs", "compare", "digits", "split", "--by", "val")
    assert answer.code == 2
    assert "mnist5k with other files or another split" in " ".join(answer.err.split())
    model = torch.nn.Linear(2, 1)
    with package.GradientMonitor(
        model, torch.optim.SGD(model.parameters(), lr=0.1), name="mine", runs_dir=tmp_path,
        metric=("mse", "minimize"),
    ) as seen:  # fmt: skip
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        seen.step(loss)
        seen.evaluation(score=0.5, split="test")
    answer = gradcli("runs", "compare", "digits", "mine")
    assert answer.code == 2
    assert "different metrics" in answer.err


def test_a_run_that_ended_early_is_resumed_first(tmp_path, gradcli, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path))
    run = package.train(*SMALL, name="early", runs_dir=tmp_path)
    package.train(*SMALL, name="whole", runs_dir=tmp_path)
    state = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**state, "status": "interrupted"}))
    answer = gradcli("runs", "compare", "early", "whole")
    assert answer.code == 2
    assert f"gradcli train --resume {run.path}" in answer.message


def test_a_picture_is_drawn(home, gradcli, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADCLI_RUNS", str(home))
    answer = gradcli("runs", "compare", "sgd-*", "adam-*", "--plot", str(tmp_path / "sets.png"))
    assert answer.code == 0
    assert (tmp_path / "sets.png").read_bytes().startswith(b"\x89PNG")


def test_a_training_that_was_repeated_counts_once(tmp_path):
    for name in ("a", "a", "b"):
        package.train(*SMALL, name=name, seed=3 if name == "b" else 1, runs_dir=tmp_path)
    found = package.compare_runs("a", "b", runs_dir=tmp_path)
    one = next(one for one in found.sets if one.name == "a")
    assert len(one.members) == 1
    assert [reason.split()[0] for reason in one.left_out.values()] == ["repeated"]


def test_labels_are_kept_listed_and_changed(home, gradcli, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(home))
    listed = json.loads(gradcli("runs", "list", "--where", "tag=adam", "--json").out)["runs"]
    assert [row["note"] for row in listed] == ["seed 3", "seed 2", "seed 1"]
    compared = json.loads(gradcli("runs", "list", "--where", "tag=compared", "--json").out)["runs"]
    assert [row["name"] for row in compared] == ["comparison"]
    assert gradcli("runs", "label", "adam-1", "--tag", "best", "--untag", "adam").code == 0
    shown = gradcli("runs", "show", "adam-1").out
    assert "best" in shown
    assert "seed 1" in shown
    assert gradcli("runs", "label", "adam-1", "--untag", "best", "--tag", "adam").code == 0
    nothing = gradcli("runs", "label", "adam-1")
    assert nothing.code == 2
    assert "nothing to change" in nothing.err


def test_the_list_shows_what_was_asked_for(home, gradcli, monkeypatch):
    monkeypatch.setenv("GRADCLI_RUNS", str(home))
    words = (
        "--where",
        "optimizer=sgd seed>1",
        "--sort",
        "seed",
        "--show",
        "batch_size,lr",
    )
    answer = gradcli("runs", "list", *words)
    head, *rows = answer.out.splitlines()
    assert head.split()[-3:] == ["seed", "batch_size", "lr"]
    assert [row.split()[-3] for row in rows] == ["2", "3"]
    assert gradcli("runs", "list", "--where", "seed>99").out.strip().startswith("no run")
