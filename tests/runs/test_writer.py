"""What a run directory says of the processes that trained the run."""

import json
from dataclasses import replace

import pytest

from gradcli.errors import OperatingSystemError
from gradcli.runs import RunWriter, create_run_directory, load_run


def commands(path):
    return [(one["argv"], one["start_step"]) for one in load_run(path).state["parts"]]


def train(path, info, word, start_step=0, *, resumed=False):
    earlier = load_run(path).state if resumed else None
    writer = RunWriter(path, "", {"argv": ["gradcli", word], "overrides": [word]}, earlier)
    writer.begin(replace(info, start_step=start_step), {})
    writer.set_status("interrupted")
    writer.close()


def test_every_process_that_trained_is_a_part_and_the_first_stays_the_runs_own(tmp_path, run_info):
    train(tmp_path, run_info, "first")
    train(tmp_path, run_info, "second", 10, resumed=True)
    train(tmp_path, run_info, "third", 20, resumed=True)
    state = load_run(tmp_path).state
    assert (state["argv"], state["overrides"]) == (["gradcli", "first"], ["first"])
    assert len(state["resumed"]) == 2
    assert commands(tmp_path) == [
        (["gradcli", "first"], 0),
        (["gradcli", "second"], 10),
        (["gradcli", "third"], 20),
    ]


def test_a_run_from_before_there_were_parts_gets_its_first_one(tmp_path, run_info):
    train(tmp_path, run_info, "first")
    state = json.loads((tmp_path / "run.json").read_text())
    del state["parts"]
    (tmp_path / "run.json").write_text(json.dumps(state))
    train(tmp_path, run_info, "second", 10, resumed=True)
    assert commands(tmp_path) == [(["gradcli", "first"], 0), (["gradcli", "second"], 10)]


def test_a_process_that_never_trained_is_no_part(tmp_path, run_info):
    RunWriter(tmp_path, "", {"argv": ["gradcli", "first"]}).close()
    train(tmp_path, run_info, "second", resumed=True)
    assert commands(tmp_path) == [(["gradcli", "second"], 0)]


def test_nothing_changes_before_a_resumed_run_begins(tmp_path, run_info):
    train(tmp_path, run_info, "first")
    before = (tmp_path / "run.json").read_bytes()
    writer = RunWriter(tmp_path, "other: 1\n", {}, load_run(tmp_path).state)
    assert (tmp_path / "run.json").read_bytes() == before
    assert load_run(tmp_path).config == ""
    writer.begin(run_info, {})
    assert load_run(tmp_path).config == "other: 1\n"
    writer.close()


def test_a_resumed_run_has_no_result_of_before(tmp_path, run_info):
    train(tmp_path, run_info, "first")
    writer = RunWriter(tmp_path, "", {}, load_run(tmp_path).state)
    writer.set_status("finished", result={"test_accuracy": 0.5})
    writer.begin(run_info, {})
    assert load_run(tmp_path).state["result"] == {}
    writer.close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_damaged_last_checkpoint_does_not_replace_the_one_before(tmp_path, run_info, damaged):
    from gradcli.runs import load_checkpoint

    writer = RunWriter(tmp_path, "", {})
    writer.begin(run_info, {})
    for step in (1, 2):
        writer.save_checkpoint({"step": step})
    writer.close()
    writer = RunWriter(tmp_path, "", {}, load_run(tmp_path).state, last_is_damaged=damaged)
    writer.begin(run_info, {})
    writer.save_checkpoint({"step": 3})
    assert load_checkpoint(tmp_path, "previous")["step"] == (1 if damaged else 2)
    writer.save_checkpoint({"step": 4})
    assert load_checkpoint(tmp_path, "previous")["step"] == 3
    assert load_checkpoint(tmp_path, "best") is None
    writer.close()


def test_what_is_noted_is_written_with_the_next_status(tmp_path):
    writer = RunWriter(tmp_path, "", {})
    writer.note(seconds_total=1.5)
    assert (writer.noted("seconds_total"), writer.noted("nothing", 7)) == (1.5, 7)
    assert "seconds_total" not in load_run(tmp_path).state
    writer.set_status("finished")
    assert load_run(tmp_path).state["seconds_total"] == 1.5
    writer.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatingSystemError, match="No run directory can be created in"):
        create_run_directory(tmp_path / "file" / "in", "x")
