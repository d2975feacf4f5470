"""Atomic writes, JSON without NaN, and schemas."""

import json
import math
import stat

import pytest

from gradcli.errors import UserError
from gradcli.runs import files


def write_words(words):
    return lambda file: file.write(words)


def test_a_file_is_replaced_and_the_old_one_kept_if_asked(tmp_path):
    path, kept = tmp_path / "file", tmp_path / "kept"
    files.write_atomically(path, write_words(b"one"), keep_as=kept)
    assert not kept.exists()  # there was no old one
    files.write_atomically(path, write_words(b"two"), keep_as=kept)
    files.write_atomically(path, write_words(b"three"))
    assert (path.read_bytes(), kept.read_bytes()) == (b"three", b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "kept"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    def fail(file):
        file.write(b"half")
        raise ValueError("broken")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="broken"):
        files.write_atomically(path, fail, keep_as=tmp_path / "kept")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_an_error_of_the_system_is_shown_instead_of_torchs(tmp_path):
    def fail_as_torch_does(file):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0") from None

    with pytest.raises(OSError, match="No space") as caught:
        files.write_atomically(tmp_path / "file", fail_as_torch_does)
    assert caught.value.filename == str(tmp_path / "file")


def test_another_error_of_torch_stays_as_it_is(tmp_path):
    def fail(file):
        try:
            raise KeyError("first")
        except KeyError:
            raise RuntimeError("of torch") from None

    with pytest.raises(RuntimeError, match="of torch"):
        files.write_atomically(tmp_path / "file", fail)
    assert list(tmp_path.iterdir()) == []


def test_only_what_a_killed_process_left_of_these_files_is_swept(tmp_path):
    left = [".run.json.abcd1234", ".a[1].x.12345678"]
    others = [
        "run.json",
        ".run.json.abc",
        ".run.json.abcd12345",
        ".other.abcd1234",
        ".a1.x.12345678",
    ]
    for name in (*left, *others):
        (tmp_path / name).write_text("")
    files.sweep(tmp_path, ["run.json", "a[1].x"])
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(others)


@pytest.mark.parametrize("place", ["link", "deeper/link"])
def test_a_directory_with_a_link_is_refused(tmp_path, place):
    files.refuse_links(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / place).symlink_to("/elsewhere")
    with pytest.raises(UserError, match="is a symbolic link to /elsewhere") as error:
        files.refuse_links(tmp_path)
    assert error.value.where == str(tmp_path / place)
    assert error.value.hint == f"rm {tmp_path / place}"


VALUE = {"a": [math.nan, {"b": -math.inf}], "c": (math.inf, 1.5), "d": "nan", "e": None, "f": True}
AS_JSON = {"a": ["nan", {"b": "-inf"}], "c": ["inf", 1.5], "d": "nan", "e": None, "f": True}


def test_what_is_not_finite_is_written_as_words(tmp_path):
    assert files.plain(VALUE) == AS_JSON
    files.write_json(tmp_path / "file", VALUE)
    text = (tmp_path / "file").read_text()
    assert text.endswith("}\n") and text.startswith('{\n  "a"')
    assert json.loads(text) == AS_JSON


def test_words_of_numbers_become_numbers_again():
    found = files.restored({"a": ["nan", {"b": "-inf"}], "c": "inf", "d": "other", "e": 1.5})
    assert math.isnan(found["a"][0])
    assert found["a"][1] == {"b": -math.inf}
    assert (found["c"], found["d"], found["e"]) == (math.inf, "other", 1.5)
    assert files.number("inf") == math.inf


@pytest.mark.parametrize(("schema", "newest"), [(1, 1), (1, 3), (2, 3), (3, 3), (None, 1)])
def test_every_earlier_schema_is_read(tmp_path, schema, newest):
    described = {} if schema is None else {"schema": schema}
    files.refuse_unknown_schema(described, tmp_path, newest)


@pytest.mark.parametrize(
    ("schema", "newest", "known"),
    [(2, 1, "reads schema 1."), (3, 2, "reads schemas 1 to 2."), (0, 1, "reads schema 1.")],
)
def test_another_schema_is_refused_with_those_that_are_known(tmp_path, schema, newest, known):
    with pytest.raises(UserError, match=f"has schema {schema}; gradcli .* {known}"):
        files.refuse_unknown_schema({"schema": schema}, tmp_path, newest)


def test_this_release_writes_the_schema_that_it_reads(tmp_path):
    files.refuse_unknown_schema({"schema": files.SCHEMA}, tmp_path)
    with pytest.raises(UserError):
        files.refuse_unknown_schema({"schema": files.SCHEMA + 1}, tmp_path)
