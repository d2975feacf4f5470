"""Python files of the user's, run for what they describe."""

import sys

import pytest

from gradcli.system.source_files import (
    is_same_file,
    module_from_file,
    refuse_to_train_while_read,
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    yield write
    for name in ("mine", "beside"):
        sys.modules.pop(name, None)


def test_a_file_is_run_up_to_where_it_trains(write):
    path = write(
        "from gradcli.system.source_files import refuse_to_train_while_read as train\n"
        "described = 1\n"
        "try:\n"
        "    train()\n"
        "except Exception:\n"  # which must not catch it
        "    described = 2\n"
        "described = 3\n"
    )
    assert module_from_file(path).described == 1


def test_outside_of_a_file_that_is_read_training_is_not_stopped():
    refuse_to_train_while_read()


def test_a_file_is_run_again_only_if_it_has_changed(write):
    path = write("ran = object()\n")
    first = module_from_file(path).ran
    assert module_from_file(path).ran is first
    write("ran = object()  # changed\n")
    assert module_from_file(path).ran is not first


def test_a_file_finds_its_neighbours_and_its_own_classes(write):
    write("value = 5\n", "beside.py")
    path = write(
        "from dataclasses import dataclass\n"
        "from beside import value\n"
        "@dataclass\n"
        "class Config:\n"
        "    value: int = value\n"
    )
    before = list(sys.path)
    assert module_from_file(path).Config().value == 5
    assert sys.path == before


def test_a_file_that_fails_leaves_nothing_behind(write):
    path = write("raise ValueError('mine')\n")
    with pytest.raises(ValueError, match="mine"):
        module_from_file(path)
    assert "mine" not in sys.modules


def test_a_file_is_allowed_by_any_of_its_paths_and_by_no_package(write, tmp_path, monkeypatch):
    path = write("")
    monkeypatch.chdir(tmp_path)
    assert is_same_file(str(path), "mine.py")
    assert is_same_file(str(path), str(tmp_path / "." / "mine.py"))
    assert not is_same_file(str(path), "mine")
    assert not is_same_file(str(path), "other.py")
