"""Tags and notes of runs."""

import json

import pytest

from gradcli.errors import DamagedFileError, UserError
from gradcli.runs import add_labels, given_labels, load_run, write_labels
from gradcli.runs.labels import LABELS_FILE, Labels, read_labels


def test_a_run_without_labels_has_no_file_for_them(make_run):
    folder = make_run("20260101T000000Z-one-aaaa")
    write_labels(folder, Labels())
    assert not (folder / LABELS_FILE).exists()
    assert read_labels(folder) == Labels()


def test_labels_are_read_back_and_shown_in_the_row(make_run):
    folder = make_run("20260101T000000Z-one-aaaa")
    write_labels(folder, Labels(("a", "b"), "an 'odd' note\nof two lines"))
    row = load_run(folder).row()
    assert (row.tags, row.note) == (("a", "b"), "an 'odd' note\nof two lines")


def test_tags_are_added_once_and_taken_away_and_a_note_is_replaced(make_run):
    folder = make_run("20260101T000000Z-one-aaaa")
    add_labels(folder, Labels(("a",), "first"))
    add_labels(folder, Labels(("a", "b")))
    assert read_labels(folder) == Labels(("a", "b"), "first")
    write_labels(folder, read_labels(folder).changed(remove=["a"], note=""))
    assert read_labels(folder) == Labels(("b",), "")


@pytest.mark.parametrize("tag", ["", "two words", "a,b", "a=b", "é!"])
def test_a_tag_can_be_typed_in_a_condition(tag):
    with pytest.raises(UserError, match="cannot be a tag"):
        given_labels([tag], None)


@pytest.mark.parametrize("text", ["{", "[]", '{"tags": "a"}', '{"tags": [], "who": 1}'])
def test_a_damaged_file_is_named(make_run, text):
    folder = make_run("20260101T000000Z-one-aaaa")
    (folder / LABELS_FILE).write_text(text)
    with pytest.raises(DamagedFileError, match=LABELS_FILE):
        load_run(folder).row()


def test_the_file_is_plain_json(make_run):
    folder = make_run("20260101T000000Z-one-aaaa")
    write_labels(folder, Labels(("a",)))
    assert json.loads((folder / LABELS_FILE).read_text()) == {"tags": ["a"], "note": ""}
