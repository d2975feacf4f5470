"""The local engine with real worker processes: jobs in, run directories out."""

import json
import os
import queue
import signal
import time
import warnings
from contextlib import closing
from functools import partial

import pytest
import torch

from gradcli.comparison.plan import plan_from_json
from gradcli.config import compose_train
from gradcli.data import DownloadProgress, load_dataset
from gradcli.engines import Job, LocalEngine, PlanRequest, worker
from gradcli.engines.worker_process import WorkerProcess
from gradcli.errors import UserError
from gradcli.runs import load_run
from gradcli.system.paths import Paths
from gradcli.workflows.comparing.planning import plan_comparison

MANY_STEPS = "epochs=100000"


@pytest.fixture(scope="module")
def engine():
    engine = LocalEngine(jobs=1)
    yield engine
    engine.close()


def job(folder, *overrides, until=None, **more):
    config = compose_train(
        ["data=mnist5k", "model.hidden=[8]", "max_steps=5", "threads=1", *overrides]
    )
    return Job(folder.name, str(folder), more.pop("config", config.yaml()), until, **more)


def wait_for(engine, count=1, seconds=60):
    """The next `count` jobs that end."""
    ended, deadline = [], time.monotonic() + seconds
    while len(ended) < count:
        assert time.monotonic() < deadline, "no job has ended"
        ended += engine.poll(0.1)
    return ended


def wait_until_running(engine, folder):
    deadline = time.monotonic() + 60
    while not (folder / "layers.json").exists():
        assert time.monotonic() < deadline, "the job has not begun"
        assert not engine.poll(0.02)
    return load_run(folder)


def load_sample(data):
    return load_dataset(data.name)


def nothing_to_download(*progress):
    raise AssertionError(progress)


def test_a_plan_is_that_of_this_process(engine):
    words = ("data=mnist5k", "optimizers=[sgd,adam]", "protocol.seeds=2"), ("clip=none,norm",)
    planned = plan_from_json(engine.plan(PlanRequest(*words, jobs=3), nothing_to_download))
    ours = plan_comparison(*words, Paths(), load_sample, jobs=3)
    assert json.dumps(planned.as_json()) == json.dumps(ours.as_json())
    assert planned.request_id == ours.request_id


def test_a_mistake_in_a_plan_is_reported_in_full(engine):
    request = PlanRequest(("data=mnist5k", "optimizer.lrr=1"), (), jobs=1)
    with pytest.raises(UserError) as caught:
        engine.plan(request, nothing_to_download)
    with pytest.raises(UserError) as ours:
        plan_comparison(request.overrides, (), Paths(), load_sample, jobs=1)
    assert str(caught.value) == str(ours.value)
    assert caught.value.choices == ours.value.choices != ()
    assert caught.value.hint == ours.value.hint is not None


class Talks:
    """A worker in this process, whose messages go through JSON as those of a real one."""

    def __init__(self, arrived):
        self.arrived = arrived

    def send(self, message):
        request = PlanRequest(**json.loads(json.dumps(message["plan"])))

        def say(**message):
            self.arrived.put((self, json.loads(json.dumps(message))))

        def download(done_bytes, total_bytes, name):
            say(download=[done_bytes, total_bytes, name])

        load = partial(worker.load_once, data_dir=request.data_dir, download=download)
        worker.answer_with_plan(request, load, say)


@pytest.fixture
def talks():
    engine = LocalEngine()
    engine.close()
    engine._arrived = queue.SimpleQueue()
    engine._workers, engine._jobs = [Talks(engine._arrived)], 1
    return engine


def test_a_download_is_reported_before_the_plan(talks, monkeypatch):
    def load(name, *, progress, **more):
        progress(DownloadProgress("a.gz", "http://mirror/", 1, 3))
        progress(DownloadProgress("a.gz", "http://mirror/", 3, None))
        return load_dataset("mnist5k")

    monkeypatch.setattr("gradcli.workflows.building.load_dataset", load)
    told = []
    request = PlanRequest(("data=mnist", "protocol.seeds=3"), (), jobs=1)
    plan = talks.plan(request, lambda *progress: told.append(progress))
    assert told == [(1, 3, "a.gz"), (3, 0, "a.gz")]
    assert plan_from_json(plan).protocol.seeds == (1, 2, 3)


def test_what_python_warns_of_in_planning_is_warned_of_here(talks, monkeypatch):
    def load(name, **more):
        warnings.warn("The driver is too old.", stacklevel=1)
        return load_dataset("mnist5k")

    monkeypatch.setattr("gradcli.workflows.building.load_dataset", load)
    with pytest.warns(UserWarning, match="driver is too old"):
        talks.plan(PlanRequest(("data=mnist",), (), jobs=1), nothing_to_download)


def test_code_that_fails_while_planning_is_reported_with_its_place(tmp_path, monkeypatch):
    (tmp_path / "broken_code.py").write_text("1 / 0\n")
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "broken.yaml").write_text("_target_: broken_code.Optimizer\nlr: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with closing(LocalEngine()) as engine, pytest.raises(UserError) as caught:
        engine.plan(
            PlanRequest(
                ("data=mnist5k", "optimizers=[broken]"),
                (),
                jobs=1,
                config_dir=str(tmp_path),
                allow_import=("broken_code",),
            ),
            nothing_to_download,
        )
    assert "ZeroDivisionError" in caught.value.problem
    assert caught.value.where.endswith("broken_code.py:1")


def test_a_failure_of_ours_while_planning_is_passed_on_with_its_traceback():
    answers = []

    def load(data):
        raise ZeroDivisionError("ours")

    request = PlanRequest(("data=mnist5k",), (), jobs=1)
    worker.answer_with_plan(request, load, lambda **answer: answers.append(answer))
    assert "ZeroDivisionError: ours" in answers[-1]["failure"]
    assert "in load" in answers[-1]["failure"]


def test_a_worker_that_dies_planning_is_replaced_once():
    with closing(LocalEngine()) as engine:
        engine._workers[0].kill()
        plan = engine.plan(PlanRequest(("data=mnist5k",), (), jobs=1), nothing_to_download)
        assert plan_from_json(plan).info.data.name == "mnist5k"


def test_two_workers_that_die_planning_are_an_error(monkeypatch):
    send = WorkerProcess.send

    def send_and_kill(self, message):
        send(self, message)
        self.kill()

    monkeypatch.setattr(WorkerProcess, "send", send_and_kill)
    with (
        closing(LocalEngine()) as engine,
        pytest.raises(RuntimeError, match=r"its worker (was killed by SIGKILL|ended with 1)"),
    ):
        engine.plan(PlanRequest(("data=mnist5k",), (), jobs=1), nothing_to_download)


@pytest.mark.skipif(
    not hasattr(signal, "pthread_kill"), reason="a call that waits is woken by POSIX only"
)
def test_an_interrupted_worker_tidies_up(tmp_path, monkeypatch):
    """Ctrl-C in a download leaves none of its temporary folders behind."""
    (tmp_path / "slow_code.py").write_text(
        "import pathlib, tempfile, time\n"
        f"with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}, prefix='begun-'):\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "slow.yaml").write_text("_target_: slow_code.Optimizer\nlr: 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def begun():
        return list(tmp_path.glob("begun-*"))

    def messages(self, timeout):
        while not begun():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalEngine, "_messages", messages)
    words = ("data=mnist5k", "optimizers=[slow]")
    request = PlanRequest(words, (), jobs=1, config_dir=str(tmp_path), allow_import=("slow_code",))
    with closing(LocalEngine()) as engine, pytest.raises(KeyboardInterrupt):
        engine.plan(request, nothing_to_download)
    assert begun() == []


def test_a_trial_has_the_threads_of_its_config(engine, tmp_path):
    engine.submit(job(tmp_path / "two", "threads=2"))
    wait_for(engine)
    assert load_run(tmp_path / "two").info.threads == 2


def test_jobs_run_one_after_another_in_the_same_process(engine, tmp_path):
    for name in ("a", "b"):
        engine.submit(job(tmp_path / name))
    assert [(one.id, one.problem) for one in wait_for(engine, 2)] == [("a", ""), ("b", "")]
    a, b = load_run(tmp_path / "a"), load_run(tmp_path / "b")
    assert a.status == b.status == "finished"
    assert a.state["pid"] == b.state["pid"] != os.getpid()
    assert a.info.threads == 1
    assert list(a.steps.loss) == list(b.steps.loss)


def test_a_job_that_pauses_continues_as_if_it_had_not(engine, tmp_path):
    engine.submit(job(tmp_path / "whole"))
    engine.submit(job(tmp_path / "paused", until=3))
    wait_for(engine, 2)
    paused = load_run(tmp_path / "paused")
    assert paused.status == "interrupted"
    assert list(paused.steps.step) == [1, 2, 3]
    assert 0 < paused.state["rungs"]["3"] < 1
    engine.submit(job(tmp_path / "paused"))
    wait_for(engine)
    whole, paused = load_run(tmp_path / "whole"), load_run(tmp_path / "paused")
    assert paused.status == "finished"
    assert paused.steps.loss.tobytes() == whole.steps.loss.tobytes()
    assert [one.score for one in paused.evals] == [one.score for one in whole.evals]
    weights = [
        torch.load(run.path / "checkpoints/last.pt", weights_only=True)["model"]
        for run in (whole, paused)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_mistake_is_reported_in_the_run_directory(engine, tmp_path):
    engine.submit(job(tmp_path / "a", config="epochs: 3\n"))
    assert wait_for(engine)[0].problem == ""
    run = load_run(tmp_path / "a")
    assert run.status == "failed"
    assert "choices" in run.state["user_error"]["problem"]


def test_a_cancelled_job_saves_its_state_and_a_waiting_one_never_runs(engine, tmp_path):
    engine.submit(job(tmp_path / "runs", MANY_STEPS, "max_steps=null"))
    engine.submit(job(tmp_path / "waits"))
    wait_until_running(engine, tmp_path / "runs")
    engine.cancel("waits")
    engine.cancel("runs")
    assert [one.id for one in wait_for(engine)] == ["runs"]
    run = load_run(tmp_path / "runs")
    assert run.status == "interrupted"
    assert (run.path / "checkpoints" / "last.pt").exists()
    assert not (tmp_path / "waits").exists()


def test_a_killed_worker_loses_its_own_job_and_is_replaced(engine, tmp_path):
    engine.submit(job(tmp_path / "killed", MANY_STEPS, "max_steps=null"))
    engine.submit(job(tmp_path / "next"))
    run = wait_until_running(engine, tmp_path / "killed")
    (killed,) = (one for one in engine._workers if one.process.pid == run.state["pid"])
    killed.kill()
    (ended,) = wait_for(engine)
    assert ended.id == "killed"
    assert ("SIGKILL" if hasattr(signal, "SIGKILL") else "ended with 1") in ended.problem
    assert load_run(tmp_path / "killed").status == "lost"
    assert [one.id for one in wait_for(engine)] == ["next"]
    assert load_run(tmp_path / "next").status == "finished"


def test_a_worker_ends_with_its_input_in_the_middle_of_a_job(tmp_path):
    worker = WorkerProcess()
    try:
        worker.give(job(tmp_path / "a", MANY_STEPS, "max_steps=null"))
        deadline = time.monotonic() + 60
        while not (tmp_path / "a" / "layers.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        worker._requests.close()
        assert worker.process.wait(timeout=20) == 0
    finally:
        worker.kill()
        worker.release()
