"""Trials in this process: what a debugger can follow, and what stops them."""

import os
import signal
import sys

import pytest

import gradcli
from gradcli.comparison.engine import Job
from gradcli.engines import SerialEngine
from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.workflows.compare import read_comparison

SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=4", "protocol.tune=false", "engine=serial")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


RAISES = """
import os, signal, torch

class Raises(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 2:  # gradcli tries one out with a step of its own
            raise ZeroDivisionError("at my breakpoint")
        return super().step(closure)

class Interrupts(torch.optim.SGD):
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3 and not os.path.exists(MARK):
            open(MARK, "w").close()
            signal.raise_signal(signal.SIGINT)
        return super().step(closure)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Optimizers of the user's own: one raises, the other presses Ctrl-C, once."""
    (tmp_path / "debugged.py").write_text(f"MARK = {str(tmp_path / 'mark')!r}\n{RAISES}")
    (tmp_path / "configs" / "optimizer").mkdir(parents=True)
    for name in ("Raises", "Interrupts"):
        path = tmp_path / "configs" / "optimizer" / f"{name.lower()}.yaml"
        path.write_text(f"_target_: debugged.{name}\nlr: 0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield {"config_dir": tmp_path / "configs", "allow_import": ["debugged"]}
    sys.modules.pop("debugged", None)


def scores(comparison):
    return {arm.name: arm.test_score for arm in comparison.ranking}


def test_it_gives_what_worker_processes_give(tmp_path):
    asked = {"optimizers": ["sgd", "adam"], "seeds": 2}
    here = gradcli.compare(*SMALL, **asked, runs_dir=tmp_path / "serial")
    there = gradcli.compare(*SMALL[:-1], **asked, jobs=1, runs_dir=tmp_path / "local")
    assert scores(here) == scores(there)
    assert [one.id for one in here.summary.trials] == [one.id for one in there.summary.trials]
    pids = [
        {comparison.run(trial).state["pid"] for trial in comparison.summary.trials}
        for comparison in (here, there)
    ]
    assert pids[0] == {os.getpid()}
    assert os.getpid() not in pids[1]


def test_no_process_is_started(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise AssertionError(args)

    monkeypatch.setattr("gradcli.engines.local.WorkerProcess", refuse)
    comparison = gradcli.compare(*SMALL, optimizers=["sgd"], seeds=1, runs_dir=tmp_path)
    assert comparison.summary.status == "finished"


def test_an_exception_of_the_users_code_comes_out_with_its_traceback(own, tmp_path):
    asked = {"optimizers": ["sgd", "raises"], "seeds": 1, "runs_dir": tmp_path / "runs", **own}
    with pytest.raises(ZeroDivisionError, match="at my breakpoint") as caught:
        gradcli.compare(*SMALL, **asked)
    assert caught.traceback[-1].path.name == "debugged.py"
    # Afterwards the comparison can be resumed, on this engine or another.
    rest = gradcli.compare(*SMALL, "engine.raise_errors=false", **asked)
    assert rest.summary.status == "failed"
    status = {trial.arm: trial.status for trial in rest.summary.trials}
    assert status == {"sgd": "finished", "raises": "failed"}


def test_ctrl_c_saves_the_trial_and_ends_the_comparison(own, tmp_path):
    class Witness(QuietCompareView):
        def start(self, info):
            self.info = info

        def finish(self, summary):
            self.summary = summary

        def note(self, text):
            raise AssertionError(f"nothing failed: {text}")

    asked = {"optimizers": ["interrupts", "sgd"], "seeds": 1, "runs_dir": tmp_path / "runs", **own}
    view = Witness()
    with pytest.raises(KeyboardInterrupt):
        gradcli.compare(*SMALL, **asked, view=view)
    assert view.summary.status == "interrupted"
    comparison = gradcli.compare(*SMALL, **asked, view=view)
    assert comparison.summary.status == "finished"
    assert comparison.path.name == view.info.name
    (trial,) = [one for one in comparison.summary.trials if one.arm == "interrupts"]
    run = comparison.run(trial)
    assert run.info.start_step == 3  # it was saved there
    assert list(run.steps.step) == [1, 2, 3, 4]


def test_a_comparison_can_be_resumed_on_another_engine(own, tmp_path):
    asked = {"optimizers": ["interrupts"], "seeds": 2, "runs_dir": tmp_path / "runs", **own}
    with pytest.raises(KeyboardInterrupt):
        gradcli.compare(*SMALL, **asked)
    del asked["optimizers"], asked["seeds"]
    comparison = gradcli.compare(resume="latest", engine="local", jobs=1, **asked)
    assert comparison.summary.status == "finished"
    processes = {comparison.run(trial).state["pid"] for trial in comparison.summary.trials}
    assert os.getpid() not in processes


def test_resumed_elsewhere_it_says_what_it_ran_on_last(own, tmp_path):
    asked = {"optimizers": ["sgd", "interrupts"], "seeds": 2, "runs_dir": tmp_path / "runs", **own}
    with pytest.raises(KeyboardInterrupt):
        gradcli.compare(*SMALL, **asked)
    del asked["optimizers"], asked["seeds"]
    comparison = gradcli.compare(resume="latest", engine="local", jobs=2, **asked)
    shown = read_comparison(comparison.directory, comparison.directory.paths)
    for info in (comparison.summary.info, shown.info):
        assert (info.engine, info.jobs, info.already_done) == ("local", 2, 1)
    assert comparison.directory.state["result"]["jobs"] == 2


def test_the_signal_of_an_earlier_call_ends_nothing(tmp_path):
    """A trial that was interrupted once, and then fails, must not interrupt again."""
    engine = SerialEngine(raise_errors=False)
    caught = []
    before = signal.signal(signal.SIGINT, lambda *args: caught.append(args))
    try:
        engine.submit(Job("broken", str(tmp_path / "broken"), "epochs: 3\n"))
        assert [one.id for one in engine.poll(0)] == ["broken"]
        assert engine.poll(0) == []
    finally:
        signal.signal(signal.SIGINT, before)
    assert caught == []


def test_a_cancelled_job_never_runs(tmp_path):
    engine = SerialEngine()
    engine.submit(Job("a", str(tmp_path / "a"), ""))
    engine.cancel("a")
    assert engine.poll(0) == []
    assert not (tmp_path / "a").exists()


def test_it_takes_no_number_of_jobs(tmp_path):
    with pytest.raises(gradcli.UserError, match="engine=serial takes no 'jobs'") as caught:
        gradcli.compare(*SMALL, jobs=2, runs_dir=tmp_path)
    assert "engine=local" in caught.value.choices
