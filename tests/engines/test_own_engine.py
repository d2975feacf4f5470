"""An engine of the user's own: a class and a YAML, without touching the package."""

import subprocess
import sys
from pathlib import Path

import pytest

import gradcli
from gradcli.config import compose_comparison
from gradcli.engines import LocalEngine, opened_engines
from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory
from gradcli.views.compare.compare_view import QuietCompareView
from gradcli.workflows.compare import read_comparison

OWN = '''
"""Runs trials here, and counts them."""

import signal

from gradcli.engines import Ended, SerialEngine


class CountingEngine:
    made = []

    def __init__(self, label: str, jobs: int = 1) -> None:
        self.label, self.jobs, self.closed = label, jobs, False
        self.inner, self.ran = SerialEngine(), []
        self.made.append(self)

    def scale(self, jobs):
        self.asked = jobs
        return self.inner.scale(jobs)

    def plan(self, request, download):
        return self.inner.plan(request, download)

    def submit(self, job):
        self.inner.submit(job)

    def poll(self, timeout):
        ended = self.inner.poll(timeout)
        self.ran += [one.id for one in ended]
        return ended

    def cancel(self, job_id):
        self.inner.cancel(job_id)

    def close(self):
        self.closed = True


class Unreachable(CountingEngine):
    def __init__(self) -> None:
        raise ConnectionError("nobody answers")


class Confused(CountingEngine):
    """Makes up an id, or reports each job twice."""

    def __init__(self, made_up: str = "") -> None:
        super().__init__("confused")
        self.made_up = made_up

    def poll(self, timeout):
        ended = super().poll(timeout)
        return [Ended(self.made_up)] if self.made_up else [*ended, *ended]


class Interrupted(CountingEngine):
    """The user presses Ctrl-C after a trial has ended, but before anyone hears of it."""

    def poll(self, timeout):
        if super().poll(timeout) and len(self.ran) == 2:
            signal.raise_signal(signal.SIGINT)
            return []
        return [Ended(self.ran[-1])] if len(self.ran) == 1 else []


class NoEngine:
    def submit(self, job):
        pass
'''
SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=2", "protocol.tune=false")


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_engines.py").write_text(OWN)
    (tmp_path / "configs" / "engine").mkdir(parents=True)
    for name, text in {
        "counting": "_target_: my_engines.CountingEngine\nlabel: mine\n",
        "confused": "_target_: my_engines.Confused\n",
        "interrupted": "_target_: my_engines.Interrupted\nlabel: hers\n",
        "no_engine": "_target_: my_engines.NoEngine\n",
        "unreachable": "_target_: my_engines.Unreachable\n",
        "gone": "_target_: my_engines.Gone\n",
        "many": "_target_: gradcli.engines.local.LocalEngine\njobs: 3\n",
    }.items():
        (tmp_path / "configs" / "engine" / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])
    yield {"config_dir": tmp_path / "configs", "allow_import": ["my_engines"]}
    sys.modules.pop("my_engines", None)


def test_a_comparison_runs_on_it(own, tmp_path):
    comparison = gradcli.compare(
        *SMALL, "engine.label=hers", "engine.jobs=3", optimizers=["sgd", "adam"], seeds=1,
        engine="counting", runs_dir=tmp_path / "runs", **own,
    )  # fmt: skip
    (engine,) = sys.modules["my_engines"].CountingEngine.made
    assert (engine.label, engine.jobs, engine.asked) == ("hers", 3, 3)
    assert engine.ran == [trial.id for trial in comparison.summary.trials]
    assert engine.closed
    # `scale` said that it runs one trial at a time, and the record says so, too.
    assert comparison.directory.state["result"]["jobs"] == 1


def test_after_ctrl_c_the_end_counts_the_trials_that_the_directory_has(own, tmp_path):
    class Witness(QuietCompareView):
        def finish(self, summary):
            self.summary = summary

    view = Witness()
    asked = {"optimizers": ["sgd"], "seeds": 4, "engine": "interrupted", "view": view}
    with pytest.raises(KeyboardInterrupt):
        gradcli.compare(*SMALL, **asked, runs_dir=tmp_path, **own)
    directory = ComparisonDirectory(Path(view.summary.info.path))
    shown = read_comparison(directory, directory.paths)
    assert [one.status for one in shown.trials] == ["finished", "finished"]
    assert [one.id for one in view.summary.trials] == [one.id for one in shown.trials]
    assert len(directory.state["result"]["trials"]) == 2


@pytest.mark.parametrize("made_up", ["job-1", ""])
def test_one_that_reports_a_job_it_does_not_run_is_named_with_the_id(own, tmp_path, made_up):
    asked = {"optimizers": ["sgd"], "seeds": 1, "engine": "confused", "runs_dir": tmp_path / "runs"}
    with pytest.raises(UserError) as caught:
        gradcli.compare(*SMALL, f"engine.made_up={made_up!r}", **asked, **own)
    (run,) = (tmp_path / "runs").glob("*/trials/*")
    job_id = made_up or run.name
    assert caught.value.problem == (
        f"Confused.poll returned Ended('{job_id}'), but no job with this id is running."
    )
    assert caught.value.where == "my_engines.Confused.poll"


def mistake(own, engine, *words, allow_import=("my_engines",)):
    with pytest.raises(gradcli.UserError) as caught:
        compose_comparison(
            [f"engine={engine}", *words], config_dir=own["config_dir"], allow_import=allow_import
        )
    return caught.value


def test_a_class_that_is_not_an_engine_is_refused(own):
    error = mistake(own, "no_engine")
    assert "my_engines.NoEngine" in error.problem
    assert "gradcli.comparison.engine.Engine, as an engine must" in error.problem


def test_one_that_cannot_be_built_is_named_with_its_line(own, tmp_path):
    with pytest.raises(UserError) as caught:
        gradcli.compare(*SMALL, engine="unreachable", runs_dir=tmp_path / "runs", **own)
    assert caught.value.problem == "Unreachable cannot be built: ConnectionError: nobody answers"
    assert "my_engines.py:" in caught.value.where


def test_what_a_config_may_not_use_is_refused(own):
    error = mistake(own, "counting", allow_import=())
    assert error.hint == "--allow-import my_engines, if you trust what it runs"


def test_a_class_that_is_missing_is_refused(own):
    assert "no class 'Gone'" in mistake(own, "gone").problem


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("engine.lable=x", "There is no key 'engine.lable'."),
        ("engine.label=3", "engine.label is 3"),
        ("engine.jobs=many", "engine.jobs is 'many'"),
        ("engine.jobs=0", "engine.jobs is 0"),
    ],
)
def test_its_keys_are_checked_against_its_signature(own, word, said):
    assert said in mistake(own, "counting", word).problem


def test_an_engine_that_is_not_there_is_answered_with_those_that_are(own):
    error = mistake(own, "elsewhere")
    assert error.problem == "engine has no option 'elsewhere'."
    assert {"counting", "local", "serial"} <= set(error.choices)


def test_the_usual_engine_starts_before_the_config_is_known():
    with opened_engines([]) as open_engine:
        early = open_engine(LocalEngine, {"jobs": None})
        assert len(early._workers) == 1
        process = early._workers[0].process
    assert process.poll() is not None


@pytest.mark.parametrize("words", [["engine=many"], ["engine=local", "engine=many"]])
def test_another_one_is_started_once_it_is_known(words):
    with opened_engines(words) as open_engine:
        engine = open_engine(LocalEngine, {"jobs": 2})
        assert len(engine._workers) == 2


def test_a_wrong_guess_is_ended(monkeypatch):
    class Guessed(LocalEngine):
        closed = 0

        def close(self):
            type(self).closed += 1
            super().close()

    monkeypatch.setattr("gradcli.engines.local.LocalEngine", Guessed)
    with opened_engines([]) as open_engine:
        engine = open_engine(LocalEngine, {"jobs": 1})
        assert type(engine) is LocalEngine
        assert Guessed.closed == 1


def test_its_process_loads_no_torch_if_the_engine_does_not(own, tmp_path):
    code = """
import sys
from gradcli.config import compose_comparison
for engine in ("local", "serial", "ray"):
    assert compose_comparison([f"engine={engine}"]).engine == engine
    assert not {"torch", "ray"} & set(sys.modules), engine
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
