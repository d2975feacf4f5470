"""The recorders of a run: all get everything, and one that fails harms no other."""

import warnings

import pytest

from gradcli.records import Recorder
from gradcli.runs import RunWriter, load_run
from gradcli.runs.recorders import Recorders, RunDirectoryRecorder


class Tracker(Recorder):
    """Keeps what it is told, and fails at some words."""

    def __init__(self, *fails_at, shows_notes=False):
        self.told, self.fails_at, self.shows_notes = [], fails_at, shows_notes

    def tell(self, what):
        self.told.append(what)
        if what in self.fails_at:
            raise ValueError(what)

    def begin(self, info, path, settings):
        self.tell("begin")

    def record(self, record):
        self.tell("record")

    def note(self, text):
        self.tell("note")

    def finish(self, summary):
        self.tell("finish")

    def close(self):
        self.tell("close")


class Other(Tracker):
    """Another class."""


@pytest.fixture
def recorders_of(tmp_path, run_info, make_steps):
    """Return a function that records a whole run with these recorders."""

    def record(*others):
        recorders = Recorders(RunDirectoryRecorder(RunWriter(tmp_path, "", {}), {}), others)
        recorders.begin(run_info, {})
        recorders.record(make_steps(1, 3))
        recorders.note("a note")
        recorders.finish(None)
        recorders.close()
        return load_run(tmp_path)

    return record


WHOLE = ["begin", "record", "note", "finish", "close"]


def test_every_recorder_is_told_everything(recorders_of):
    one, other = Tracker(), Tracker()
    run = recorders_of(one, other)
    assert one.told == other.told == WHOLE
    assert len(run.steps) == 3
    assert "dropped_recorders" not in run.state


@pytest.mark.parametrize("at", WHOLE)
def test_one_that_fails_is_dropped_and_named_by_its_class(recorders_of, at):
    first, failing, last = Other(), Other(at), Other()
    with pytest.warns(
        RuntimeWarning, match=f"The recorder Other#2 failed .* ValueError\\('{at}'\\)"
    ):
        run = recorders_of(first, failing, last)
    assert first.told == last.told == WHOLE
    assert failing.told == [*WHOLE[: WHOLE.index(at) + 1], "close"]
    assert run.state["dropped_recorders"] == {"Other#2": f"ValueError('{at}')"}
    assert len(run.steps) == 3


def test_several_that_fail_are_all_named(recorders_of):
    with pytest.warns(RuntimeWarning) as said:
        run = recorders_of(Tracker("begin"), Other("record"), Tracker("finish", "close"))
    assert [str(one.message).split()[2] for one in said] == ["Tracker", "Other", "Tracker#2"]
    assert list(run.state["dropped_recorders"]) == ["Tracker", "Other", "Tracker#2"]


def test_a_recorder_that_shows_notes_is_told_instead_of_a_warning(recorders_of):
    screen = Tracker(shows_notes=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorders_of(Tracker("record"), screen)
    assert screen.told.count("note") == 2


def test_one_that_fails_at_the_note_on_another_is_dropped_too(recorders_of):
    screen = Tracker("note", shows_notes=True)
    with pytest.warns(RuntimeWarning) as said:
        run = recorders_of(Other("begin"), screen)
    assert list(run.state["dropped_recorders"]) == ["Other", "Tracker"]
    assert screen.told == ["note", "close"]
    assert len(said) == 1
