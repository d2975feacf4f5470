"""`gradcli watch` where it cannot be shown: without a terminal, without Textual, without a run."""

import re
import sys
from pathlib import Path

import pytest

from gradcli.errors import UserError
from gradcli.watch import open_watch


@pytest.fixture
def terminal(monkeypatch):
    """Let the command believe that it has a terminal."""
    monkeypatch.setattr(open_watch, "can_fill_screen", lambda: True)


def test_in_a_pipe_it_names_the_list_of_runs(gradcli):
    answer = gradcli("watch")
    assert (answer.code, answer.out) == (2, "")
    assert "try: gradcli runs list" in answer.err


def test_without_the_extra_it_says_what_to_install(gradcli, terminal, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "textual", None)
    for name in [name for name in sys.modules if name.startswith(("textual.", "gradcli.watch.w"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "textual.app", None)
    answer = gradcli("watch", "--runs-dir", str(tmp_path))
    assert answer.code == 2
    assert "try: pip install 'gradcli[tui]'" in answer.err


def test_an_unknown_run_is_answered_before_anything_is_drawn(gradcli, terminal, tmp_path):
    answer = gradcli("watch", "nothing", "--runs-dir", str(tmp_path))
    assert answer.code == 2
    assert "There are no runs" in answer.err


def test_comparisons_are_not_shown_beside_runs(make_paths, monkeypatch):
    runs_dir, run, comparison = make_paths
    with pytest.raises(UserError, match="is a comparison"):
        open_watch._paths([run, comparison], runs_dir)
    assert open_watch._paths([comparison], runs_dir) == [runs_dir / comparison]
    with pytest.raises(UserError, match="At most 6"):
        open_watch._paths([run] * 7, runs_dir)


@pytest.fixture
def make_paths(tmp_path):
    from gradcli.runs import RunWriter, begin_comparison

    run, comparison = "20260101T000000Z-one-1111", "20260102T000000Z-two-2222"
    for name in (run, comparison):
        (tmp_path / name).mkdir()
    RunWriter(tmp_path / run, "", {}).close()
    data = {"name": "mnist5k", "train": 1, "val": 1, "test": 1, "sha256": "", "shape": [1]}
    info = {"arms": [], "data": {**data, "classes": 2}, "model": "mlp", "epochs": 1}
    begin_comparison(tmp_path / comparison, {"info": info})
    return tmp_path, run, comparison


def test_neither_help_nor_the_refusal_imports_textual(spawn):
    for words, code in ((["watch", "--help"], 0), (["watch"], 2)):
        answer = spawn("-X", "importtime", "-m", "gradcli", *words)
        assert answer.code == code
        assert not re.search(r"\| +(textual|torch|numpy)\b", answer.err)


def test_the_page_names_every_key_that_the_help_names():
    from gradcli.watch.watch_sentences import HELP

    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text()
    keys = {
        key
        for _, rows in HELP
        for names, _ in rows
        for key in re.split(r", | and | ", names)
        if key != "arrows"
    }
    assert keys >= {"?", "/", "space", "b", "tab", "+", "-", "y"}
    assert {key for key in keys if f"`{key}`" not in page} == set()


def test_the_page_names_the_limits_of_the_code():
    from gradcli.runs.watching.step_samples import MOST_STEPS
    from gradcli.system.locks import LEASE_SECONDS
    from gradcli.watch import watched_findings

    page = " ".join((Path(__file__).parents[2] / "docs" / "watch.md").read_text().split())
    assert f"at most {MOST_STEPS} and the last one" in page
    assert f"the last {LEASE_SECONDS:.0f} s" in page
    assert f"the last {watched_findings.MOST_BYTES // 2**20} MiB" in page
    assert f"after {watched_findings.SHORTEST_PAUSE_SECONDS:.0f} s or more" in page
    assert f"at most {1 / watched_findings.PAUSE_PER_COST:.0%} of the time" in page
