import pytest

from gradcli.data.downloads import failures


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_800_000_000.0

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(failures, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "503"), (3599, "503"), (3600, None), (-1, None)]
)
def test_a_failure_counts_for_an_hour(clock, tmp_path, seconds, expected):
    failures.remember("mnist", "503", tmp_path)
    clock.now += seconds
    assert failures.recent("mnist", tmp_path) == expected


def test_data_sets_are_remembered_apart(clock, tmp_path):
    failures.remember("mnist", "503", tmp_path)
    failures.remember("fashion_mnist", "time-out", tmp_path)
    failures.forget("mnist", tmp_path)
    assert failures.recent("mnist", tmp_path) is None
    assert failures.recent("fashion_mnist", tmp_path) == "time-out"


@pytest.mark.parametrize("content", ["", "[1]", '{"mnist": 3}', '{"mnist": {"time": "x"}}', "\x00"])
def test_a_damaged_file_remembers_nothing_and_is_replaced(tmp_path, content):
    failures.remember("mnist", "503", tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert failures.recent("mnist", tmp_path) is None
    failures.remember("mnist", "404", tmp_path)
    assert failures.recent("mnist", tmp_path) == "404"


def test_a_folder_that_cannot_be_made_remembers_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    failures.remember("mnist", "503", tmp_path / "file")
    assert failures.recent("mnist", tmp_path / "file") is None
