"""The Ray engine on real clusters of this machine, whose processes and nodes are killed."""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest

import gradcli
from gradcli.comparison.engine import PlanRequest
from gradcli.errors import UserError
from gradcli.runs import load_run
from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.views.json_output import comparison_json

pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

ARMS, SEEDS = ["sgd", "adam"], 5
TRIALS = len(ARMS) * SEEDS
WORDS = (
    *("data=mnist5k", "model.hidden=[4]", "max_steps=1000", "protocol.tune=false"),
    "checkpoint.seconds=0.2",
)
SMALL_STORE = "--object-store-memory=80000000"  # bytes, the least that Ray takes
SECOND = "GRADCLI_TEST_NODE=second"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


@pytest.fixture(scope="module", autouse=True)
def ray_folder():
    """A folder of Ray's own for all that this module starts, which is gone at the end."""
    folder = tempfile.mkdtemp(prefix="ray")  # its sockets need a short path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("TMPDIR", folder)  # a killed actor cannot clear up
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else Ray leaves a token in the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A dead node is noticed after a second, not after twenty.
        patch.setenv("RAY_health_check_period_ms", "300")
        patch.setenv("RAY_health_check_failure_threshold", "3")
        patch.setenv("RAY_health_check_initial_delay_ms", "300")
        patch.delenv("RAY_ADDRESS", raising=False)
        try:
            yield folder
        finally:
            kill(processes(f"RAY_TMPDIR={folder}"))
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(ray_folder):
    """Two nodes on this machine: trials fit twice on one, and once on the other."""
    port = free_port()
    start("--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false")
    name, _, value = SECOND.partition("=")
    start(f"--address=127.0.0.1:{port}", "--num-cpus=1", **{name: value})
    return f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The table of the comparison as the serial engine gives it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])
        return table(compared(tmp_path_factory.mktemp("serial"), engine="serial"))


def start(*words, **environment):
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, SMALL_STORE]
    command += ["--disable-usage-stats"] if "--head" in words else []
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def processes(variable):
    """The processes that were started with an environment variable, apart from this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if variable.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def kill(pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def compared(folder, *words, engine="ray", **options):
    options = {"optimizers": ARMS, "seeds": SEEDS, **options}
    return gradcli.compare(*WORDS, *words, engine=engine, runs_dir=folder, **options)


def table(comparison):
    """All that a comparison says, but times, places and how many trials ran at a time."""
    apart = re.compile(r".*second.*|.*_command|comparison|run|kept_trial|jobs|notes")

    def without(value):
        if isinstance(value, dict):
            return {key: without(one) for key, one in value.items() if not apart.fullmatch(key)}
        return [without(one) for one in value] if isinstance(value, list) else value

    return without(comparison_json(comparison.summary))


class Watched(QuietCompareView):
    """Keeps the notes; and calls `act` for each trial that is found running, until it is true."""

    def __init__(self, act):
        self.act, self.notes, self.done = act, [], threading.Event()

    def note(self, text):
        self.notes.append(text)

    def start(self, info):
        self.thread = threading.Thread(target=self._watch, args=(Path(info.path) / "trials",))
        self.thread.start()

    def _watch(self, folder):
        while not self.done.wait(0.01):
            for path in sorted(folder.glob("*/run.json")):
                run = load_run(path.parent)
                # The lock is not tried: a trial that is about to take it must not find us there.
                if run.state["status"] == "running" and self.act(run):
                    return

    def close(self):
        self.done.set()
        self.thread.join()

    @property
    def retries(self):
        return [note for note in self.notes if note.startswith("retrying")]


def test_a_comparison_without_a_common_folder_is_interrupted_and_resumed(
    cluster, tmp_path, monkeypatch
):
    """Its files are sent to the node and back, while it runs and when it is stopped."""
    monkeypatch.setattr("gradcli.workflows.comparing.study._SECONDS_TO_SAVE", 60.0)

    def interrupt(run):
        if not (run.path / "checkpoints" / "last.pt").exists():
            return False
        os.kill(os.getpid(), signal.SIGINT)
        return True

    long = {"optimizers": ["sgd"], "seeds": 2}
    expected = table(compared(tmp_path / "serial", "max_steps=3000", engine="serial", **long))
    words = ("max_steps=3000", f"engine.address={cluster}", "engine.shared=false")
    with pytest.raises(KeyboardInterrupt):
        compared(tmp_path / "ray", *words, jobs=2, view=Watched(interrupt), **long)
    (folder,) = tmp_path.glob("ray/*/trials")
    stopped = [load_run(path.parent) for path in folder.glob("*/run.json")]
    interrupted = [run for run in stopped if run.status == "interrupted"]
    assert interrupted, [run.status for run in stopped]
    assert all((run.path / "checkpoints" / "last.pt").exists() for run in interrupted)
    comparison = compared(tmp_path / "ray", *words, "engine.workers=2", **long)
    assert table(comparison) == expected
    assert comparison.directory.state["result"]["jobs"] == 2
    resumed = [load_run(run.path) for run in interrupted]
    assert all(len(run.state["resumed"]) == 1 for run in resumed)


def test_ten_actors_are_killed_and_no_trial_is_lost_or_runs_twice(cluster, expected, tmp_path):
    draw, killed = random.Random(0), []

    def kill_its_actor(run):
        pid = run.state["pid"]
        if run.name not in killed:
            time.sleep(draw.uniform(0, 0.2))
            with suppress(OSError):  # it has ended meanwhile
                actor = parent(pid)
                assert b"ray::" in Path(f"/proc/{actor}/cmdline").read_bytes()
                kill([actor])
                killed.append(run.name)
        return len(killed) == TRIALS

    view = Watched(kill_its_actor)
    comparison = compared(tmp_path, view=view)  # `auto` finds the cluster
    assert table(comparison) == expected
    assert len(killed) == TRIALS == 10
    # A trial that was at its very end when its actor was killed is not run again.
    assert TRIALS - 2 <= len(view.retries) <= TRIALS
    assert all("was lost" in note for note in view.retries)
    runs = [comparison.run(trial) for trial in comparison.summary.trials]
    assert [run.status for run in runs] == ["finished"] * TRIALS
    assert sum(len(run.state.get("resumed", [])) for run in runs) <= len(view.retries)


def test_a_killed_node_costs_its_own_trial(cluster, expected, tmp_path):
    """The last test on this cluster, of which one node is left."""
    lost = []

    def kill_its_node(run):
        node = processes(SECOND)
        if run.state["pid"] not in node:
            return False
        lost.append(run.name)
        kill(node)
        return True

    view = Watched(kill_its_node)
    comparison = compared(tmp_path, view=view)
    assert table(comparison) == expected
    assert comparison.directory.state["result"]["jobs"] == 3
    assert len(lost) == len(view.retries) == 1
    assert lost[0] in {trial.id for trial in comparison.summary.trials}


def test_a_cluster_of_its_own_ends_with_the_engine(ray_folder, tmp_path, monkeypatch):
    """The code of the user travels there; a mistake in it names the file that it was."""
    from gradcli.engines.ray_cluster.ray_engine import RayEngine

    own = tempfile.mkdtemp(prefix="ray")
    monkeypatch.setenv("RAY_TMPDIR", own)
    (tmp_path / "broken_code.py").write_text("1 / 0\n")
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "broken.yaml").write_text("_target_: broken_code.Optimizer\nlr: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    request = PlanRequest(
        ("data=mnist5k", "optimizers=[broken]"),
        (),
        jobs=1,
        config_dir=str(tmp_path),
        allow_import=("broken_code",),
    )
    try:
        with closing(RayEngine(address=None, cpus=0.5)) as engine:
            assert engine.scale(1) == 1
            with pytest.raises(UserError) as caught:
                engine.plan(request, lambda *progress: None)
        assert "ZeroDivisionError" in caught.value.problem
        assert caught.value.where == f"{tmp_path / 'broken_code.py'}:1"
        deadline = time.monotonic() + 30
        while left := processes(f"RAY_TMPDIR={own}"):
            assert time.monotonic() < deadline, left
            time.sleep(0.05)
    finally:
        kill(processes(f"RAY_TMPDIR={own}"))
        shutil.rmtree(own, ignore_errors=True)


def test_a_trial_that_fits_nowhere_is_refused(cluster):
    from gradcli.engines.ray_cluster.ray_engine import RayEngine

    with closing(RayEngine(address=cluster, gpus=0.5)) as engine:
        with pytest.raises(UserError, match="fits on no node") as caught:
            engine.scale(1)
        assert caught.value.where == "engine=ray"
