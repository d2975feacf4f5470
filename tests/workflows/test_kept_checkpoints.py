"""`checkpoint.keep`: what stays of a run and of a comparison, and what is said without it."""

import json
import shlex
import signal
from pathlib import Path

import pytest

import gradcli as package
from gradcli.runs import checkpoints, load_run
from gradcli.workflows.compare import read_comparison

RUN = ["data=mnist5k", "model.hidden=[8]", "batch_size=1000", "threads=1", "device=cpu"]
COMPARED = [*RUN, "max_steps=8", "protocol.learning_rates=3", "protocol.widenings=0"]
ASKED = {"optimizers": ["sgd", "adam"], "seeds": 2, "jobs": 1}

pytestmark = pytest.mark.usefixtures("trials_in_this_process")


def files(folder):
    """The names of a run's checkpoints, or of a comparison's with the trials that have them."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("checkpoints/*"))


def compare(runs_dir, *words):
    return package.compare(*COMPARED, *words, **ASKED, runs_dir=runs_dir)


def scores(comparison):
    """All that the trials have reached."""
    return [
        (one.id, one.status, one.steps, repr(one.val_score), repr(one.test_score))
        for one in comparison.summary.trials
    ]


@pytest.mark.parametrize(
    ("keep", "names"),
    [
        ("auto", ["best.pt", "last.pt", "previous.pt"]),
        ("all", ["best.pt", "last.pt", "previous.pt"]),
        ("last", ["last.pt"]),
        ("none", []),
    ],
)
def test_a_run_keeps_what_it_is_told(runs_dir, keep, names):
    run = package.train(*RUN, "epochs=2", f"checkpoint.keep={keep}", runs_dir=runs_dir)
    assert files(run.path) == [f"checkpoints/{name}" for name in names]
    assert run.has_checkpoint is bool(names)
    assert run.status == "finished"


def test_what_is_kept_changes_no_weight_and_can_be_extended(runs_dir):
    runs = [
        package.train(*RUN, "epochs=1", f"checkpoint.keep={keep}", runs_dir=runs_dir)
        for keep in ("all", "last")
    ]
    for run in runs:
        package.train(resume=str(run.path), epochs=2)
    ends = [checkpoints.load_checkpoint(run.path)["model"] for run in runs]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
    assert files(runs[1].path) == ["checkpoints/last.pt"]


@pytest.mark.parametrize("halving", [False, True])
def test_of_a_comparison_the_best_trial_keeps_its_last_one(runs_dir, halving):
    words = (f"protocol.halving={halving}",)
    comparison = compare(runs_dir / "auto", *words)
    kept = Path(comparison.summary.kept_trial)
    assert files(comparison.path) == [f"trials/{kept.name}/checkpoints/last.pt"]
    trials = [one for one in comparison.summary.trials if one.stage == "measuring"]
    best = [one for one in trials if one.arm == comparison.ranking[0].name]
    assert kept.name == max(best, key=lambda one: one.val_score).id
    # The same trials are made and score the same if all of them keep theirs.
    everything = compare(runs_dir / "all", *words, "checkpoint.keep=all")
    assert [one[1:] for one in scores(everything)] == [one[1:] for one in scores(comparison)]
    assert len(files(everything.path)) >= len(everything.summary.trials)
    # The weights are those that they all have, in less room.
    twin = next(
        other
        for one, other in zip(comparison.summary.trials, everything.summary.trials, strict=True)
        if one.id == kept.name
    )
    ours, theirs = (checkpoints.load_checkpoint(path) for path in (kept, Path(twin.run)))
    assert all((ours["model"][name] == theirs["model"][name]).all() for name in ours["model"])
    assert ours["position"] == theirs["position"]
    sizes = [(path / "checkpoints" / "last.pt").stat().st_size for path in (kept, Path(twin.run))]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("keep", ["last", "none"])
def test_a_comparison_keeps_what_it_is_told(runs_dir, keep):
    comparison = compare(runs_dir, f"checkpoint.keep={keep}")
    trials = [one.id for one in comparison.summary.trials] if keep == "last" else []
    assert files(comparison.path) == sorted(f"trials/{one}/checkpoints/last.pt" for one in trials)
    assert bool(comparison.summary.kept_trial) is (keep == "last")


def test_the_kept_trial_is_named_probed_and_extended(runs_dir, gradcli):
    comparison = compare(runs_dir)
    kept = comparison.summary.kept_trial
    shown = gradcli("runs", "show", str(comparison.path))
    assert f"weights     {kept}" in shown.out
    assert json.loads(gradcli("runs", "show", "latest", "--json").out)["kept_trial"] == kept
    assert gradcli("inspect-gradients", kept, "--probe", "sharpness").code == 0
    checkpoint = checkpoints.load_checkpoint(Path(kept))
    assert checkpoint["position"]["step"] == 8


def test_other_trials_answer_in_one_panel_that_says_how_to_keep_them(runs_dir, gradcli):
    comparison = compare(runs_dir)
    kept = comparison.summary.kept_trial
    other = next(one.run for one in comparison.summary.trials if one.run != kept)
    for words in (
        ("inspect-gradients", other, "--probe", "sharpness"),
        ("inspect-gradients", other, "--check"),
    ):
        answer = gradcli(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "checkpoint.keep=last" in answer.message
        assert kept in answer.message
        assert answer.err.count("try:") == 1
    # What needs only the records goes on as before.
    for words in (
        ("inspect-gradients", other),
        ("inspect-gradients", other, "--step", "3"),
        ("runs", "diff", kept, other),
        ("runs", "export", other),
    ):
        assert gradcli(*words).code == 0


def compare_one_arm(runs_dir, optimizer, *words):
    """Compare seeds of one optimizer, and return the trial that is kept."""
    words = (*RUN, "epochs=1", "protocol.tune=false", *words)
    how = {"optimizers": [optimizer], "seeds": 2, "jobs": 1}
    return Path(package.compare(*words, **how, runs_dir=runs_dir).summary.kept_trial)


@pytest.mark.parametrize(
    ("words", "is_whole"),
    [
        (("sgd",), True),  # it has no state
        (("sgd", "optimizer.momentum=0.9"), False),
        (("adam",), False),
        (("adam", "checkpoint.keep=last"), True),
        (("adam", "checkpoint.keep=all"), True),
    ],
)
def test_of_the_kept_trial_the_state_of_the_optimizer_is_left_out(
    runs_dir, gradcli, words, is_whole
):
    kept = compare_one_arm(runs_dir, *words)
    checkpoint = checkpoints.load_checkpoint(kept)
    assert ("optimizer" in checkpoint) is is_whole
    weights = sum(one.numel() * one.element_size() for one in checkpoint["model"].values())
    if words == ("adam",):
        assert (kept / "checkpoints" / "last.pt").stat().st_size < 1.5 * weights
    # What needs the next steps has no result without it, and the rest has the same.
    answer = gradcli("inspect-gradients", str(kept), "--probe", "all", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert ("only the weights were kept" in " ".join(found["notes"])) is not is_whole
    for name in ("alpha", "cosine"):
        assert ("refused" in found["probes"][name]) is not is_whole
    assert found["probes"]["sharpness"]["result"]["largest"] > 0
    assert "result" in found["probes"]["noise"]
    # It can be extended, or one panel says what to type instead.
    before = (kept / "run.json").read_text()
    answer = gradcli("train", "--resume", str(kept), "epochs=2", "--quiet")
    if is_whole:
        assert answer.code == 0
        assert load_run(kept).state["progress"]["epochs"] == 2
        return
    assert (answer.code, answer.out) == (2, "")
    assert "only the weights were kept" in answer.message
    assert answer.err.count("try:") == 1
    assert answer.message.partition("try: ")[2].endswith("epochs=2")
    assert (kept / "run.json").read_text() == before


def test_the_weights_alone_are_probed_as_the_whole_checkpoint_is(runs_dir, gradcli):
    found = []
    for keep in ("auto", "last"):
        kept = compare_one_arm(runs_dir / keep, "adam", f"checkpoint.keep={keep}")
        answer = gradcli("inspect-gradients", str(kept), "--probe", "sharpness", "--json")
        found.append(json.loads(answer.out))
    alone, whole = found
    assert (alone["loss"], alone["layers"]) == (whole["loss"], whole["layers"])
    results = [one["probes"]["sharpness"]["result"] for one in (alone, whole)]
    assert results[0]["largest"] == pytest.approx(results[1]["largest"], rel=1e-6)
    # The threshold of Adam depends on its state: it is not known, and not a wrong one.
    assert results[0]["threshold"] == "nan"
    assert results[1]["threshold"] > 0


def test_an_optimizer_whose_weights_follow_from_its_state_keeps_it(runs_dir):
    pytest.importorskip("schedulefree")
    kept = compare_one_arm(runs_dir, "schedule_free_adamw", "schedule=constant")
    assert {"optimizer", "evaluated_model"} <= checkpoints.load_checkpoint(kept).keys()


def test_a_comparison_is_probed_where_there_are_weights(runs_dir, gradcli):
    comparison = compare(runs_dir)
    kept, winner = Path(comparison.summary.kept_trial), comparison.ranking[0].name
    words = ("inspect-gradients", str(comparison.path), "--probe", "sharpness")
    answer = gradcli(*words)
    assert answer.code == 0
    assert "largest eigenvalue" in answer.out
    (other,) = {"sgd", "adam"} - {winner}
    assert f"No trial of {other} has its weights" in " ".join(answer.out.split())
    found = {one["label"]: one for one in json.loads(gradcli(*words, "--json").out)["inspections"]}
    assert found[winner]["probes"]["sharpness"]["result"]["largest"] > 0
    assert Path(found[winner]["target"]).name == kept.name
    assert (found[other]["probes"], found[other]["kind"]) == ({}, "run")
    # What to type for the other one, trained anew, makes a run that can be probed.
    command = next(line for line in answer.out.splitlines() if "gradcli train" in line)
    words = shlex.split(command.partition("gradcli")[2])
    assert gradcli(*words, "--quiet", "--name", "anew").code == 0
    (anew,) = runs_dir.glob("*-anew-*")
    assert f"optimizer={other}" in words
    assert gradcli("inspect-gradients", str(anew), "--probe", "sharpness").code == 0


def test_a_comparison_without_any_weights_is_not_probed(runs_dir, gradcli):
    comparison = compare(runs_dir, "checkpoint.keep=none")
    answer = gradcli("inspect-gradients", str(comparison.path), "--probe", "sharpness")
    assert (answer.code, answer.out) == (2, "")
    assert "weights were not kept" in answer.message
    assert gradcli("inspect-gradients", str(comparison.path)).code == 0


def test_no_probe_is_proposed_where_there_are_no_weights(runs_dir, gradcli):
    comparison = compare(runs_dir)
    for trial in comparison.summary.trials:
        proposes = "--probe all" in gradcli("inspect-gradients", trial.run).out
        assert proposes is (trial.run == comparison.summary.kept_trial)


def test_the_command_that_is_proposed_makes_the_same_weights(runs_dir, gradcli):
    comparison = compare(runs_dir)
    kept = comparison.summary.kept_trial
    one = next(one for one in comparison.summary.trials if one.run != kept)
    answer = gradcli("inspect-gradients", one.run, "--probe", "sharpness")
    (proposed,) = (line for line in answer.err.splitlines() if "try:" in line)
    words = shlex.split(proposed.partition("try:")[2])[1:]
    assert gradcli(*words, "--quiet", "--name", "anew").code == 0
    (anew,) = runs_dir.glob("*-anew-*")
    trial = load_run(one.run)
    assert list(load_run(anew).steps.loss) == list(trial.steps.loss)
    assert load_run(anew).has_checkpoint


def test_a_finished_run_without_one_says_how_to_train_a_longer_one(runs_dir, gradcli):
    run = package.train(*RUN, "epochs=1", "checkpoint.keep=none", runs_dir=runs_dir)
    for words in (
        ("train", "--resume", str(run.path), "epochs=2"),
        ("inspect-gradients", str(run.path), "--probe", "sharpness"),
    ):
        answer = gradcli(*words)
        assert (answer.code, answer.out) == (2, "")
        assert "has no checkpoint any more" in answer.message
        assert "checkpoint.keep=last" in answer.message.partition("try:")[2]


def test_an_interrupted_run_keeps_all_whatever_it_is_told(runs_dir):
    class Stopping(package.Recorder):
        def begin(self, info, path, settings):
            signal.raise_signal(signal.SIGTERM)

    words = [*RUN, "epochs=2", "checkpoint.keep=none"]
    run = package.train(*words, recorders=[Stopping()], runs_dir=runs_dir)
    assert run.status == "interrupted"
    assert run.has_checkpoint
    resumed = package.train(resume=str(run.path))
    assert resumed.status == "finished"
    assert files(run.path) == []


@pytest.mark.parametrize("deletions", [0, 1, 3, 9])
def test_a_comparison_that_is_killed_while_it_makes_room_is_whole(runs_dir, monkeypatch, deletions):
    undisturbed = compare(runs_dir / "undisturbed")
    made, drop = [], checkpoints.drop_checkpoints

    def killed(directory, keep=()):
        if len(made) == deletions:
            raise KeyboardInterrupt
        made.append(directory)
        drop(directory, keep)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gradcli.runs.removal.drop_checkpoints", killed)
        compare(runs_dir / "killed")
    comparison = compare(runs_dir / "killed")
    assert scores(comparison) == scores(undisturbed)
    directory = comparison.directory
    assert read_comparison(directory, directory.paths).status == "finished"
    assert Path(comparison.summary.kept_trial).name == Path(undisturbed.summary.kept_trial).name


def test_a_checkpoint_that_cannot_be_removed_is_said_and_changes_nothing(runs_dir, monkeypatch):
    def refuse(directory, keep=()):
        raise PermissionError(13, "Permission denied", str(directory))

    monkeypatch.setattr("gradcli.runs.removal.drop_checkpoints", refuse)
    monkeypatch.setattr("gradcli.runs.writer.drop_checkpoints", refuse)
    assert compare(runs_dir).summary.status == "finished"
    with pytest.warns(RuntimeWarning, match="The checkpoints stay: PermissionError"):
        run = package.train(*RUN, "max_steps=2", "checkpoint.keep=none", runs_dir=runs_dir)
    assert run.status == "finished"


def test_the_question_of_a_comparison_is_that_of_before_the_key_existed(runs_dir):
    comparison = compare(runs_dir)
    config = comparison.directory.state["arms"][0]["config"]
    assert config["checkpoint"] == {"seconds": 30.0}
    asked = compare(runs_dir, "checkpoint.keep=auto")
    assert asked.path == comparison.path
    assert compare(runs_dir, "checkpoint.keep=all").path != comparison.path
