"""The rows of the table: which are shown, in which order, in which columns."""

import pytest

from gradcli.errors import UserError
from gradcli.runs import conditions
from gradcli.runs.choosing.listing import choose
from gradcli.runs.watching.folder_watch import FolderWatch
from gradcli.views.table import total_width
from gradcli.watch.run_rows import (
    ORDERS,
    Filter,
    count_phrase,
    names_of,
    next_order,
    read_filter,
    row_columns,
    short_name,
    shown_rows,
)

NAMES = ["20260101T000000Z-night-1111", "20260102T000000Z-day-2222", "20260103T000000Z-noon-3333"]


@pytest.fixture
def known(open_run, tmp_path):
    """Three runs, the newest first: finished with 0.7, diverged, and live."""
    for name, status, score, seed in zip(
        NAMES, ("finished", "diverged", ""), (0.7, "nan", "nan"), (0, 1, 1), strict=True
    ):
        _, writer = open_run(name, seed=seed)
        if status:
            codes = {"finished": ["healthy"], "diverged": ["lr-too-high", "non-finite"]}[status]
            writer.set_status(status, result={"test": score, "findings": codes})
            writer.close()
    watch = FolderWatch(tmp_path / "runs")
    watch.look()
    return watch.known


def shown(known, text):
    return [short_name(name) for name in names_of(shown_rows(known, read_filter(text, known)))]


def test_words_match_names_and_conditions_are_those_of_the_list_of_runs(known, tmp_path):
    assert shown(known, "") == ["noon-3333", "day-2222", "night-1111"]
    assert shown(known, "NIGHT") == ["night-1111"]
    assert shown(known, "n status=finished") == ["night-1111"]
    for text in ("seed=1", "test>0.5", "status!=running", "name=mine", "findings=non-finite"):
        listed, _ = choose(tmp_path / "runs", conditions([text]))
        assert sorted(shown(known, text)) == sorted(short_name(one.row.run) for one in listed)


@pytest.mark.parametrize("text", ["stauts=finished", "optimizer<5", "seed>", "'"])
def test_a_filter_that_means_nothing_is_refused(known, text):
    with pytest.raises(UserError):
        read_filter(text, known)


def test_live_ones_come_first_and_then_the_newest(known):
    assert [one.row.status for one in shown_rows(known, Filter())] == [
        "running", "diverged", "finished",
    ]  # fmt: skip
    older_is_live = known[::-1]
    assert shown_rows(older_is_live, Filter())[0].row.status == "running"


@pytest.mark.parametrize("key", ORDERS)
def test_every_order_keeps_all_rows_and_can_be_turned_round(known, key):
    assert next_order(ORDERS[-1]) == ""
    rows = shown_rows(known, Filter(), key)
    assert sorted(names_of(rows)) == NAMES
    turned = shown_rows(known, Filter(), key, is_reversed=True)
    assert sorted(names_of(turned)) == NAMES


def test_the_best_score_comes_first(known):
    assert shown_rows(known, Filter(), "test")[0].row.test_score == 0.7
    assert [one.row.status for one in shown_rows(known, Filter(), "status")] == [
        "diverged", "finished", "running",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [76, 96, 136, 200])
def test_the_columns_fit_and_those_that_matter_are_there(known, width):
    columns = row_columns(known, [NAMES[0]], width, today="2026-01-01")
    assert total_width(columns) <= width
    titles = [one.title for one in columns]
    assert titles[:3] == ["", "status", "run"]
    assert {"test", "findings"} <= set(titles)
    assert columns[0].cells == [" ", " ", "*"]
    assert columns[1].cells == ["▶ running", "✗ diverged", "✓ finished"]
    findings = columns[titles.index("findings")].cells
    whole = "lr-too-high non-finite"
    assert findings[1] == (whole if width > 100 else findings[1])
    assert findings[1].startswith("lr-too-high")


def test_a_wide_table_says_more(known):
    titles = [one.title for one in row_columns(known, [], 200)]
    assert {"when", "model", "optimizer", "lr", "seed", "epochs", "metric"} <= set(titles)
    pointed = [one.title for one in row_columns(known, [], 200, "test")]
    assert "test ↓" in pointed


def test_no_rows_have_columns_too():
    assert not any(one.cells for one in row_columns([], [], 76))


def test_it_says_how_many_there_are(known):
    assert count_phrase(3, known, 0, "") == "3 runs, 1 live, live first, then the newest"
    assert count_phrase(3, known[1:], 2, "test") == "2 of 3 runs, 2 unreadable, by test"
