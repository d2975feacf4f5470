"""The local engine with real worker processes: jobs in, run directories out."""

import os
import signal
import time

import pytest
import torch

from gradcli.config import compose_train
from gradcli.engines import Job, LocalEngine
from gradcli.engines.local import _Worker
from gradcli.runs import load_run

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


def test_jobs_run_one_after_another_in_the_same_process(engine, tmp_path):
    for name in ("a", "b"):
        engine.submit(job(tmp_path / name))
    assert [(one.id, one.problem) for one in wait_for(engine, 2)] == [("a", ""), ("b", "")]
    a, b = load_run(tmp_path / "a"), load_run(tmp_path / "b")
    assert a.status == b.status == "finished"
    assert a.state["pid"] == b.state["pid"] != os.getpid()
    assert a.info.threads == 1
    assert list(a.steps.loss) == list(b.steps.loss)


def test_a_job_pauses_and_goes_on_as_if_it_had_not(engine, tmp_path):
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
    assert [one.accuracy for one in paused.evals] == [one.accuracy for one in whole.evals]
    weights = [
        torch.load(run.path / "checkpoints/last.pt", weights_only=True)["model"]
        for run in (whole, paused)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_mistake_is_told_in_the_run_directory(engine, tmp_path):
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
    os.kill(run.state["pid"], signal.SIGKILL)
    (ended,) = wait_for(engine)
    assert (ended.id, "SIGKILL" in ended.problem) == ("killed", True)
    assert load_run(tmp_path / "killed").status == "lost"
    assert [one.id for one in wait_for(engine)] == ["next"]
    assert load_run(tmp_path / "next").status == "finished"


def test_a_worker_ends_with_its_input_in_the_middle_of_a_job(tmp_path):
    worker = _Worker(threads=1)
    try:
        worker.give(job(tmp_path / "a", MANY_STEPS, "max_steps=null"))
        deadline = time.monotonic() + 60
        while not (tmp_path / "a" / "layers.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        worker._jobs.close()
        assert worker.process.wait(timeout=20) == 0
    finally:
        worker.kill()
        worker.release()
