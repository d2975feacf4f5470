"""Checkpoints: which one a run continues from, and what is said of the others."""

import os

import pytest
import torch

from gradcli.errors import DamagedFileError
from gradcli.runs import RunWriter, checkpoint_to_resume, load_checkpoint
from gradcli.runs.checkpoints import save_checkpoint


@pytest.fixture
def saved(tmp_path, run_info, make_steps):
    """A run with three checkpoints: `best` of 1 step, `previous` of 2 and `last` of 3."""
    writer = RunWriter(tmp_path, "", {})
    writer.begin(run_info, {})
    for step in (1, 2, 3):
        writer.write(make_steps(step, 1))
        writer.save_checkpoint({"step": step, "tensor": torch.arange(step)}, best=step == 1)
    writer.close()
    return tmp_path


def path_of(directory, name):
    return directory / "checkpoints" / f"{name}.pt"


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_checkpoints_come_back(saved):
    assert load_checkpoint(saved)["tensor"].tolist() == [0, 1, 2]
    assert load_checkpoint(saved, "previous")["step"] == 2
    assert load_checkpoint(saved, "best")["step"] == 1
    assert load_checkpoint(saved, "fault") is None


def test_a_run_continues_from_the_last_checkpoint(saved):
    found = checkpoint_to_resume(saved, was_saved=True)
    assert (found.checkpoint["step"], found.problems) == (3, ())
    assert found.log_bytes["steps.bin"] == (saved / "steps.bin").stat().st_size


def test_a_damaged_last_checkpoint_is_said_and_the_one_before_is_used(saved):
    flip_a_bit(path_of(saved, "last"))
    found = checkpoint_to_resume(saved, was_saved=True)
    assert found.checkpoint["step"] == 2
    (problem,) = found.problems
    assert problem.startswith(f"{path_of(saved, 'last')} does not match its checksum.")


def test_a_last_checkpoint_that_is_missing_is_said_too(saved):
    path_of(saved, "last").unlink()
    found = checkpoint_to_resume(saved, was_saved=True)
    assert found.checkpoint["step"] == 2
    assert found.problems == ("checkpoints/last.pt is missing.",)


def test_a_missing_previous_checkpoint_does_not_matter(saved):
    path_of(saved, "previous").unlink()
    found = checkpoint_to_resume(saved, was_saved=True)
    assert (found.checkpoint["step"], found.problems) == (3, ())


@pytest.mark.parametrize("was_saved", [False, True])
def test_a_run_without_checkpoints_begins_only_if_it_never_had_one(tmp_path, was_saved):
    if was_saved:
        with pytest.raises(DamagedFileError) as error:
            checkpoint_to_resume(tmp_path, was_saved=True)
        last = path_of(tmp_path, "last")
        assert error.value.problem == (f"There is no state to continue from. {last} is missing.")
        assert error.value.where == str(last)
    else:
        assert checkpoint_to_resume(tmp_path, was_saved=False) is None


@pytest.mark.parametrize("was_saved", [False, True])
def test_damaged_checkpoints_are_never_begun_over(saved, was_saved):
    for name in ("last", "previous"):
        flip_a_bit(path_of(saved, name))
    with pytest.raises(DamagedFileError) as error:
        checkpoint_to_resume(saved, was_saved=was_saved)
    assert error.value.problem.count("does not match its checksum") == 2
    assert error.value.where == str(path_of(saved, "last"))
    best, last = path_of(saved, "best"), path_of(saved, "last")
    assert error.value.hint == f"cp {best} {last}, to continue from the best epoch"
    flip_a_bit(best)
    with pytest.raises(DamagedFileError) as error:
        checkpoint_to_resume(saved, was_saved=was_saved)
    assert error.value.hint == "restore the file, or train anew"


def test_logs_that_reach_only_to_the_one_before_make_it_the_one_to_continue_from(saved):
    os.truncate(saved / "steps.bin", load_checkpoint(saved, "previous")["log_bytes"]["steps.bin"])
    found = checkpoint_to_resume(saved, was_saved=True)
    assert found.checkpoint["step"] == 2
    assert "steps.bin has" in found.problems[0]


@pytest.mark.parametrize(
    "sizes", [{"steps.bin": -1}, {"other.bin": 1}, {"steps.bin": "1"}, None], ids=str
)
def test_a_checkpoint_with_sizes_that_cannot_be_is_not_used(tmp_path, sizes):
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path, "last.pt", {"log_bytes": sizes})
    with pytest.raises(DamagedFileError, match="There is no state to continue from"):
        checkpoint_to_resume(tmp_path, was_saved=True)


def test_empty_logs_are_sizes_like_any_other(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    save_checkpoint(tmp_path, "last.pt", {"log_bytes": {"steps.bin": 0, "checksums.bin": 0}})
    assert checkpoint_to_resume(tmp_path, was_saved=True).problems == ()


def test_a_checkpoint_without_a_checksum_is_read(saved):
    """As earlier releases wrote them."""
    torch.save({"step": 7}, path_of(saved, "last"))
    assert load_checkpoint(saved) == {"step": 7}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not a checkpoint, or only a part of one"),
        (b"x" * 5, "is not a checkpoint"),
        (b"x" * 500, "is not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(saved, content, problem):
    path_of(saved, "last").write_bytes(content)
    with pytest.raises(DamagedFileError, match=problem):
        load_checkpoint(saved)


def test_a_checkpoint_holds_a_dictionary(saved):
    torch.save([1, 2], path_of(saved, "last"))
    with pytest.raises(DamagedFileError, match="is not a checkpoint"):
        load_checkpoint(saved)


@pytest.mark.parametrize("place", [0, -1, -17, -40])
def test_a_bit_anywhere_in_a_checkpoint_is_noticed(saved, place):
    """In its first byte, in the checksum, in the mark before it, and in the data."""
    path = path_of(saved, "last")
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    if place == -17:  # the mark: as if it were of an earlier release
        assert load_checkpoint(saved)["step"] == 3
    else:
        with pytest.raises(DamagedFileError, match="does not match its checksum"):
            load_checkpoint(saved)


def test_a_checkpoint_of_several_blocks_is_read(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    numbers = torch.arange(700_000)  # 5.6 MB
    save_checkpoint(tmp_path, "last.pt", {"numbers": numbers})
    assert load_checkpoint(tmp_path)["numbers"].equal(numbers)
    flip_a_bit(path_of(tmp_path, "last"))
    with pytest.raises(DamagedFileError, match="does not match its checksum"):
        load_checkpoint(tmp_path)
