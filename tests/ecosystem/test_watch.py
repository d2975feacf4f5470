"""`gradcli watch` on real runs, driven by keys and the mouse, in terminals of three sizes."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("textual", reason="pip install 'gradcli[tui]'")
pytest.importorskip("textual_plot", reason="pip install 'gradcli[tui]'")

from gradcli.runs import find_any, load_run
from gradcli.watch.beside_screen import BesideScreen
from gradcli.watch.chart_panel import ChartPanel
from gradcli.watch.finding_list import FindingList, FindingScreen
from gradcli.watch.run_screen import RunScreen
from gradcli.watch.runs_screen import RunsScreen
from gradcli.watch.watch_app import HelpScreen, WatchApp

SIZES = [(80, 24), (100, 30), (140, 40)]
#: How long something that takes a moment may take until it counts as never.
_PATIENCE_SECONDS = 60


def on_screen(app):
    """Return the lines of the screen as a user sees them."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def text_of(app):
    return "\n".join(on_screen(app))


async def until(pilot, holds):
    """Wait until something holds of the screen."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, text_of(pilot.app)
        await pilot.pause(0.05)


def drive(runs_dir, steps, targets=(), size=(80, 24)):
    """Run the app without a terminal, and a coroutine that drives it."""

    async def run():
        paths = [find_any(target, runs_dir).path for target in targets]
        app = WatchApp(runs_dir, paths, every=0.05)
        async with app.run_test(size=size, notifications=True) as pilot:
            await pilot.pause()
            await steps(pilot)

    asyncio.run(run())


def contents(folder):
    """Return the content of every file, and when it and its folder were changed."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def runs(runs_dir_with_runs, tmp_path):
    """A copy of the runs, for tests that change them."""
    return Path(shutil.copytree(runs_dir_with_runs, tmp_path / "runs"))


@pytest.mark.parametrize("size", SIZES)
def test_every_screen_fits_and_says_its_keys(runs_dir_with_runs, size):
    async def steps(pilot):
        app = pilot.app
        lines = on_screen(app)
        assert "gradcli watch" in lines[0]
        assert {"status", "run", "test"} <= set(lines[1].split())
        assert re.search(r"✓ finished +arms-", lines[2])
        assert re.search(r"✓ finished +one-", lines[3])
        assert "2 runs, live first, then the newest" in lines[-2]
        assert {"open", "mark", "filter", "sort", "help", "quit"} <= set(lines[-1].split())
        await pilot.press("down", "enter")
        await until(pilot, lambda: "healthy" in text_of(app))
        lines = on_screen(app)
        assert re.match(r" one-\w+  ✓ finished, step 40 of 40 \(100%\)", lines[0])
        assert "mnist5k 4,000 images" in lines[1]
        assert [name in lines[2] for name in ("loss", "accuracy", "grad norm")] == [True] * 3
        for name in ("train", "val", "before"):
            assert name in lines[3]
        text = text_of(app)
        assert "gradient norm before clipping, per layer and step" in text
        for layer in ("hidden1", "hidden2", "output"):
            assert re.search(rf"^ {layer} +[·░▒▓█]", text, re.M)
        assert len(lines) == size[1]
        assert all(len(line) <= size[0] for line in lines)
        assert {"finding", "chart", "back", "help", "quit"} <= set(lines[-1].split())

    drive(runs_dir_with_runs, steps, size=size)


def test_the_numbers_are_those_of_the_run(runs_dir_with_runs):
    run = load_run(find_any("one", runs_dir_with_runs).path)

    async def steps(pilot):
        panel = pilot.app.screen.query_one("#chart-loss", ChartPanel)
        line = panel.chart.lines[0]
        values = 10**line.y if panel.chart.is_log else line.y
        assert line.x.tolist() == run.steps.step.tolist()
        assert values == pytest.approx(run.steps.loss)
        score = pilot.app.screen.query_one("#chart-score", ChartPanel).chart
        assert [line.y.tolist() for line in score.lines] == [
            [one.score for one in run.evals if one.split == split] for split in ("val", "test")
        ]

    drive(runs_dir_with_runs, steps, ["one"])


def test_the_last_points_are_seen(runs_dir_with_runs):
    async def steps(pilot):
        await pilot.pause()
        assert sum(line.count("■") for line in on_screen(pilot.app)[4:]) == 1  # the test score
        assert sum(line.count("●") for line in on_screen(pilot.app)[4:]) == 2  # the val losses

    drive(runs_dir_with_runs, steps, ["one"])


def test_looking_changes_nothing(runs_dir_with_runs):
    before = contents(runs_dir_with_runs)

    async def steps(pilot):
        await pilot.press("enter")  # the trials of the comparison
        assert "1." in text_of(pilot.app)
        await pilot.press("space", "space", "b")
        assert isinstance(pilot.app.screen, BesideScreen)
        await pilot.press("escape", "escape", "down", "enter")
        await until(pilot, lambda: "healthy" in text_of(pilot.app))
        await pilot.pause(0.3)

    drive(runs_dir_with_runs, steps)
    assert contents(runs_dir_with_runs) == before


def test_a_comparison_opens_its_ranking_and_its_trials(runs_dir_with_runs):
    comparison = find_any("arms", runs_dir_with_runs)
    best = comparison.state["result"]["ranking"][0]

    async def steps(pilot):
        lines = on_screen(pilot.app)
        assert f"1. {best['arm']} {best['test']['mean']:.4f}" in lines[1]
        names = {path.name for path in comparison.trial_paths()}
        assert {name for name in names if name in text_of(pilot.app)} == names
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, RunScreen)
        await pilot.press("escape")
        await pilot.press("escape")
        assert "2 runs" in text_of(pilot.app)

    drive(runs_dir_with_runs, steps, ["arms"])


@pytest.mark.parametrize("size", SIZES)
def test_marked_runs_are_shown_side_by_side(runs_dir_with_runs, size):
    async def steps(pilot):
        app = pilot.app
        await pilot.press("b")  # nothing is marked
        assert isinstance(app.screen, RunsScreen)
        await pilot.press("enter", "space", "space")
        assert text_of(app).count("*") == 2
        await pilot.press("b")
        await pilot.pause()
        text = text_of(app)
        assert re.match(r" A \w+  B \w+", text)
        for name in ("train loss", "val accuracy", "grad norm", "test score", "status"):
            assert name in text
        for panel in app.screen.query(ChartPanel):
            assert [line.symbol for line in panel.chart.lines] == ["A", "B"]
        drawn = [line for line in on_screen(app)[1:9] if re.search(r"┃.*[AB].*┃", line)]
        assert drawn

    drive(runs_dir_with_runs, steps, size=size)


def test_two_targets_are_side_by_side_at_once(runs_dir_with_runs):
    trials = find_any("arms", runs_dir_with_runs).trial_paths()

    async def steps(pilot):
        assert isinstance(pilot.app.screen, BesideScreen)
        assert "optimizer" in text_of(pilot.app)

    drive(runs_dir_with_runs, steps, [str(trials[0]), str(trials[1])], size=(100, 30))


def test_the_filter_takes_conditions_and_words(runs_dir_with_runs):
    async def steps(pilot):
        app = pilot.app
        await pilot.press("slash", *"ONE")
        assert "1 of 2 runs" in text_of(app)
        assert "enter keeps the filter" in text_of(app)
        await pilot.press("enter")
        assert not re.search(r"finished +arms", text_of(app))
        await pilot.press("escape")
        assert re.search(r"finished +arms", text_of(app))
        await pilot.press("slash", *"kind=run", "enter")
        assert "filter kind=run: 1 of 2 runs" in text_of(app)
        await pilot.press("escape", "slash", *"stauts=finished")
        assert "No run has a key 'stauts'" in text_of(app)
        await pilot.press("escape", "slash", *"nothing", "enter")
        assert "no run fulfils the filter" in text_of(app)

    drive(runs_dir_with_runs, steps)


def test_it_sorts_and_turns_round(runs_dir_with_runs):
    def order(app):
        return re.findall(r"finished +(\w+)-", text_of(app))

    async def steps(pilot):
        assert order(pilot.app) == ["arms", "one"]
        await pilot.press("r")
        assert order(pilot.app) == ["one", "arms"]
        await pilot.press("r", "s")  # by name
        assert "run ↓" in text_of(pilot.app)
        one, arms = (find_any(name, runs_dir_with_runs).row() for name in ("one", "arms"))
        await pilot.press("s", "s")  # by score
        best = ["one", "arms"] if one.test_score > arms.test_score else ["arms", "one"]
        assert order(pilot.app) == best

    drive(runs_dir_with_runs, steps)


def test_a_finding_opens_in_full(runs_dir_with_runs):
    async def steps(pilot):
        app = pilot.app
        await until(pilot, lambda: "healthy" in text_of(app))
        await pilot.press("enter")
        assert isinstance(app.screen, FindingScreen)
        assert "the rule:" in text_of(app)
        assert "certainty" in text_of(app)
        await pilot.press("escape")
        assert isinstance(app.screen, RunScreen)
        await pilot.press("tab", "enter")  # from a chart, too
        assert isinstance(app.screen, FindingScreen)

    drive(runs_dir_with_runs, steps, ["one"])


def test_help_light_resize_and_quit(runs_dir_with_runs):
    async def steps(pilot):
        app = pilot.app
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        assert "words match names; optimizer=adam" in text_of(app)
        await pilot.press("escape", "t")
        assert not app.current_theme.dark
        for width, height in ((140, 40), (60, 16), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            assert len(on_screen(app)) == height
            assert all(len(line) <= width for line in on_screen(app))
        await pilot.press("q")
        assert app.return_code == 0

    drive(runs_dir_with_runs, steps, ["one"])


def test_the_mouse_opens_a_run(runs_dir_with_runs):
    async def steps(pilot):
        await pilot.click("DataTable", offset=(8, 2))
        await pilot.click("DataTable", offset=(8, 2))
        await pilot.pause()
        assert isinstance(pilot.app.screen, RunScreen)

    drive(runs_dir_with_runs, steps)


def test_without_runs_it_says_what_to_type(tmp_path):
    async def steps(pilot):
        assert "There are no runs in" in text_of(pilot.app)
        assert "gradcli train" in text_of(pilot.app)
        await pilot.press("enter", "space", "b", "s")  # nothing to act on

    drive(tmp_path / "none", steps)


TRAIN = ("data=mnist5k", "model.hidden=[8]", "batch_size=50", "epochs=2000", "checkpoint.seconds=1")


def begin_training(runs_dir, *words):
    command = [sys.executable, "-m", "gradcli", "train", *words, "--runs-dir", str(runs_dir), "-q"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_run_is_followed_while_another_process_writes_kills_and_resumes_it(tmp_path):
    trainings = [begin_training(tmp_path, *TRAIN, "name=live")]

    async def steps(pilot):
        app = pilot.app
        await until(pilot, lambda: re.search(r"▶ running +live", text_of(app)))
        await pilot.press("enter")
        course = app.screen.course
        await until(pilot, lambda: course.step > 0)
        first = course.step
        await until(pilot, lambda: course.step > first)
        await until(pilot, lambda: (course.path / "checkpoints" / "last.pt").exists())
        trainings[0].kill()
        trainings[0].wait()
        await until(pilot, lambda: "? lost" in on_screen(app)[0])
        await until(pilot, lambda: "is lost" in text_of(app))
        trainings.append(begin_training(tmp_path, "--resume", str(course.path)))
        await until(pilot, lambda: "resumed once" in on_screen(app)[0])
        at = course.step
        await until(pilot, lambda: course.step > at)
        assert course.status == "running"
        trainings[1].terminate()
        await until(pilot, lambda: "‖ interrupted" in on_screen(app)[0])
        assert len(course.steps) <= 513

    try:
        drive(tmp_path, steps, size=(140, 40))
    finally:
        for training in trainings:
            training.kill()
            training.wait()


def test_damage_pruning_and_removal_are_seen_and_endured(runs):
    one = find_any("one", runs).path

    async def steps(pilot):
        app = pilot.app
        with (one / "steps.bin").open("r+b") as log:
            log.write(b"\xff" * 64)
        await pilot.press("down", "enter")
        await until(pilot, lambda: "does not match the checksum" in text_of(app))
        await until(pilot, lambda: app.screen.course.steps is None or app.screen.course.step == 40)
        whole = (one / "run.json").read_bytes()
        (one / "run.json").write_bytes(b"{")
        await until(pilot, lambda: "run.json" in on_screen(app)[2])
        (one / "run.json").write_bytes(whole)
        await until(pilot, lambda: "run.json" not in on_screen(app)[2])
        shutil.rmtree(one)
        await until(pilot, lambda: "its directory is gone" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: "1 run," in text_of(app))

    drive(runs, steps, size=(140, 40))


def test_nothing_needs_a_colour(runs_dir_with_runs, monkeypatch):
    """The severity and the status are words, and each line of a chart has a symbol of its own."""
    monkeypatch.setenv("NO_COLOR", "1")

    async def steps(pilot):
        app = pilot.app
        await until(pilot, lambda: "healthy" in text_of(app))
        shown = app.export_screenshot()
        frame = {"#c5c8c6"}  # of the picture, not of the screen
        for color in set(re.findall(r"(?:fill|color): ?(#[0-9a-f]{6})", shown)) - frame:
            assert len({color[1:3], color[3:5], color[5:7]}) == 1, color
        for panel in app.screen.query(ChartPanel):
            symbols = [line.symbol for line in panel.chart.lines]
            assert len(set(symbols)) == len(symbols)
        assert app.screen.query_one(FindingList).findings

    drive(runs_dir_with_runs, steps, ["one"])


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_a_real_terminal(runs_dir_with_runs):
    socket = f"gradcli-watch-{os.getpid()}"

    def tmux(*words):
        done = subprocess.run(["tmux", "-L", socket, *words], capture_output=True, text=True)
        return done.stdout

    def seen(text):
        end = time.monotonic() + _PATIENCE_SECONDS
        while text not in (screen := tmux("capture-pane", "-p")):
            assert time.monotonic() < end, screen
            time.sleep(0.1)
        return screen

    command = f"{sys.executable} -m gradcli watch one --runs-dir {runs_dir_with_runs}"
    command += "; echo ended $?; sleep 600"
    try:
        tmux("-u", "new-session", "-d", "-x", "80", "-y", "24", command)
        seen("healthy")
        tmux("resize-window", "-x", "120", "-y", "30")
        assert seen("gradient norm before clipping")
        tmux("send-keys", "q")
        seen("ended 0")
    finally:
        tmux("kill-server")
