"""Damaged run directories: every command says what is wrong, and none of them makes it worse."""

import json
import os
import shutil

import pytest
import torch
from torture.damage import EXIT_CODES, KINDS, Case, cases, commands

import gradcli as package
from gradcli.errors import DamagedFileWarning, UserError
from gradcli.runs import load_checkpoint, load_run

WORDS = ("data=mnist5k", "model.hidden=[16,8]", "monitor.every=5", "threads=1", "device=cpu",
         "schedule=constant", "batch_size=500", "monitor.probes=[noise]")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two finished runs, each with all the files that there can be."""
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradcli.views.draw.run_figures.plot_run", lambda *args: [])
        for name in ("one", "other"):
            package.train(*WORDS, "epochs=2", f"name={name}", runs_dir=home)
    return home


@pytest.fixture
def runs(made, runs_dir, monkeypatch):
    """The directories of copies of both runs."""
    monkeypatch.setattr("gradcli.views.draw.run_figures.plot_run", lambda *args: [])
    shutil.copytree(made, runs_dir)
    (one,) = runs_dir.glob("*-one-*")
    (other,) = runs_dir.glob("*-other-*")
    return one, other


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


FILES = ("run.json", "config.yaml", "layers.json", "steps.json", "steps.bin", "evals.jsonl",
         "probes.jsonl", "checksums.bin", "lock", "checkpoints/last.pt", "checkpoints/previous.pt",
         "checkpoints/best.pt")  # fmt: skip


def test_these_are_all_the_files(runs):
    assert {case.file for case in cases(runs[0], range(1))} == set(FILES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_no_command_crashes_on_a_damaged_file(gradcli, runs, file, kind):
    one, other = runs
    case = Case(file, kind, 0)
    case.apply(one)
    before = contents(one)
    for words in commands(one, other, epochs=3):
        answer = gradcli(*words)
        assert answer.code in EXIT_CODES, (words, answer.err)
        assert "Traceback" not in answer.err, words
        if words[0] == "runs":
            assert contents(one) == before
        if words == ("runs", "list"):
            assert "other" in answer.out
        if answer.code == 2:
            assert str(one) in answer.message.replace(" ", "") or file in answer.message, words
    if answer.code == 2:
        assert contents(one) == before
    else:
        run = load_run(one)
        assert (run.status, run.damage) == ("finished", ())
        assert run.steps.step.tolist() == list(range(1, 25))


def refused(one, match):
    """Resume a run and expect that it is refused, with nothing changed."""
    before = contents(one)
    with pytest.raises(UserError, match=match) as error:
        package.train("epochs=3", resume=one, runs_dir=one.parent)
    assert contents(one) == before
    assert load_run(one).status == "finished"
    return error.value


def weights(run):
    return load_checkpoint(run)["model"]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before_to_the_bit(runs):
    """One flipped bit in the middle of the file, which torch reads without a word."""
    one, other = runs
    path = one / "checkpoints" / "last.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "does not match its checksum" in _problem(lambda: load_checkpoint(one))
    whole = package.train("epochs=3", resume=other, runs_dir=one.parent)
    mended = package.train("epochs=3", resume=one, runs_dir=one.parent)
    assert same(weights(mended.path), weights(whole.path))
    assert mended.steps.step.tolist() == whole.steps.step.tolist()
    assert [(e.step, e.split) for e in mended.evals] == [(e.step, e.split) for e in whole.evals]


def _problem(call):
    with pytest.raises(UserError) as error:
        call()
    return error.value.problem


def test_without_any_whole_checkpoint_nothing_is_changed(runs):
    one, _ = runs
    for name in ("last.pt", "previous.pt"):
        os.truncate(one / "checkpoints" / name, 5000)
    error = refused(one, "There is no state to continue from")
    assert error.hint.startswith("cp ") and "best.pt" in error.hint


def test_a_finished_run_whose_checkpoints_are_gone_does_not_begin_again(runs):
    one, _ = runs
    for path in (one / "checkpoints").iterdir():
        path.unlink()
    error = refused(one, "has no checkpoint any more, so there is nothing to continue from")
    assert error.hint.startswith("gradcli train ")


@pytest.mark.parametrize("name", ["steps.bin", "evals.jsonl", "probes.jsonl"])
def test_a_log_shorter_than_the_checkpoints_say_is_not_padded(runs, name):
    one, _ = runs
    os.truncate(one / name, 50)
    error = refused(one, f"{name} has 50 bytes, and the checkpoint needs")
    said = error.problem.split(". ")
    assert len(set(said)) == len(said)  # both checkpoints may need the same bytes


def test_the_run_goes_back_to_the_checkpoint_that_the_logs_support(runs):
    one, other = runs
    size = torch.load(one / "checkpoints" / "previous.pt", weights_only=True)["log_bytes"]
    os.truncate(one / "evals.jsonl", size["evals.jsonl"])
    whole = package.train("epochs=3", resume=other, runs_dir=one.parent)
    mended = package.train("epochs=3", resume=one, runs_dir=one.parent)
    assert same(weights(mended.path), weights(whole.path))
    assert mended.damage == whole.damage == ()
    assert len(mended.evals) == len(whole.evals)


def test_steps_of_a_damaged_block_are_left_out_and_named(gradcli, runs):
    one, _ = runs
    whole = load_run(one).steps.step.tolist()
    data = bytearray((one / "steps.bin").read_bytes())
    data[-1] ^= 1
    (one / "steps.bin").write_bytes(data)
    answer = gradcli("runs", "export", str(one), "--format", "jsonl")
    steps = [json.loads(line)["step"] for line in answer.out.splitlines()]
    assert answer.code == 0
    assert steps == whole[: len(steps)] and len(steps) < len(whole)
    assert answer.message.count("steps.bin does not match the checksum of its bytes") == 1


def test_the_last_readable_step_is_not_taken_for_the_end(gradcli, runs):
    one, _ = runs
    os.truncate(one / "steps.bin", 300)
    with pytest.warns(DamagedFileWarning):
        steps = load_run(one).steps
    rows = steps.step.tolist()
    rows_left = f"{len(rows)} row" + "s" * (len(rows) > 1)
    note = f"{rows_left} can be read, the last one of step {rows[-1]} of 16."
    assert 0 < len(rows) < 16
    for command in (("runs", "show"), ("inspect-gradients",)):
        answer = gradcli(*command, str(one))
        assert note in " ".join(answer.out.split())
        (told,) = json.loads(gradcli(*command, str(one), "--json").out)["notes"]
        assert note in told
    told = json.loads(gradcli("inspect-gradients", str(one), "--json").out)
    assert told["verdict"] == "not-tested"  # healthy is said of whole runs
    shown = " ".join(gradcli("runs", "show", str(one)).out.split())
    assert "nothing found in the steps that can be read" in shown
    assert "nothing to report" not in shown
    assert f"loss {steps.loss[-1]:.4f} at step {rows[-1]}" in answer.out


def test_another_damaged_file_says_nothing_of_steps_that_were_not_to_be_recorded(gradcli, runs):
    """Of every tenth step a row is on record: few rows are then no damage."""
    made = package.train(*WORDS, "epochs=2", "monitor.every_step=10", runs_dir=runs[0].parent)
    (made.path / "evals.jsonl").write_bytes(b"x" * 50)
    answer = gradcli("runs", "show", str(made.path), "--json")
    assert "evals.jsonl" in answer.message
    assert json.loads(answer.out)["notes"] == []


def test_what_killed_processes_left_behind_is_swept_by_the_next_writer(runs):
    one, _ = runs
    left = [one / ".run.json.abcd1234", one / "checkpoints" / ".last.pt.x_y1z2w3"]
    for path in left:
        path.write_bytes(b"half of it")
    (one / ".keep.me").write_text("")
    package.train("epochs=3", resume=one, runs_dir=one.parent)
    assert not any(path.exists() for path in left)
    assert (one / ".keep.me").exists()
