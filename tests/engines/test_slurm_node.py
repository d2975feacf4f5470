"""On a real Slurm cluster of one node, which `make test-slurm` starts and stops."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from gradcli.engines.pilots.queue import JobQueue
from gradcli.runs import ComparisonDirectory

pytestmark = pytest.mark.skipif(
    "GRADCLI_SLURM_NODE" not in os.environ,
    reason="needs a Slurm cluster of its own: `make test-slurm` starts one",
)

SMALL = (
    *("--optimizers", "sgd,adam", "--lrs", "0.01,0.1", "--seeds", "2"),
    *("data=mnist5k", "model.hidden=[8]", "protocol.tuning_seeds=1"),
)
ON_SLURM = ("engine=slurm", "engine.partition=short", "engine.workers=2", "engine.minutes=20")
ENDLESS = ("max_steps=100000", "epochs=10000")
SECONDS = 300


def slurm(*command):
    """What one of Slurm's commands prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def jobs(name, *further):
    """The jobs of a comparison that are pending or at work."""
    listed = slurm("squeue", "--noheader", "--array", f"--name=gradcli-{name}", *further)
    return [line.split() for line in listed.splitlines()]


@pytest.fixture
def folder(tmp_path):
    """A runs folder whose pilots end with the test."""
    yield tmp_path
    for path in (tmp_path / "runs").glob("*"):
        slurm("scancel", f"--name=gradcli-{path.name}")


def start(folder, *words):
    command = [sys.executable, "-m", "gradcli", "compare-optimizers", "--no-live", *words]
    environment = {**os.environ, "GRADCLI_RUNS": str(folder / "runs")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, cwd=folder, **pipes)


def ended(process, code=0):
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    return out, err


def wait_until(is_so, what, process=None):
    """Wait, but not for a process that has failed."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.2)


def comparison(folder):
    (path,) = (folder / "runs").glob("*-compare-*")
    return ComparisonDirectory(path)


def hands(folder):
    """The pilots at work, by the job that each has claimed."""
    if not list((folder / "runs").glob("*-compare-*/queue")):
        return {}
    return JobQueue(comparison(folder).path).hands()


def is_training(folder):
    return bool(hands(folder)) and any(run.layers for run in comparison(folder).trials())


def process_of(pilot):
    """The number of a pilot's process, from its name."""
    return int(pilot.name.partition("@")[2].split("-")[-2])


def table(out):
    result = json.loads(out)
    arms = ("arm", "lr", "test", "val", "train_loss", "grad_norm", "steps_to_target")
    return [{key: arm[key] for key in arms} for arm in result["ranking"]], result["pairs"]


def test_the_table_is_that_of_one_process_even_if_pilots_are_killed(folder, tmp_path_factory):
    few = (*SMALL, "max_steps=200", "--json")
    other = tmp_path_factory.mktemp("serial")
    expected, _ = ended(start(other, *few, "--engine", "serial"))
    process = start(folder, *few, *ON_SLURM)
    kills = Counter()
    while process.poll() is None:
        for trial, pilot in hands(folder).items():
            if kills.total() < 10 and kills[trial] < 3:  # after five it is given up
                with suppress(ProcessLookupError):
                    os.kill(process_of(pilot), signal.SIGKILL)
                    kills[trial] += 1
                    time.sleep(3)
        time.sleep(0.2)
    out, _ = ended(process)
    assert kills.total() == 10
    assert table(out) == table(expected)
    name = comparison(folder).name
    wait_until(lambda: not jobs(name), "pilots do not end")


def test_a_pre_empted_trial_goes_on_from_its_last_step(folder):
    process = start(
        folder, *SMALL, "max_steps=3000", "epochs=100", *ON_SLURM, "engine.workers=1", "--json"
    )
    wait_until(lambda: is_training(folder), "none trains")
    ((trial, pilot),) = hands(folder).items()
    slurm("scancel", "--signal=TERM", pilot.scheduled_as)  # what a pre-emption sends first
    out, err = ended(process)
    assert "retrying" not in err  # it had not failed
    parts = comparison(folder).trial(trial).state["parts"]
    assert len(parts) >= 2 and parts[1]["start_step"] > 0
    assert {one["status"] for one in json.loads(out)["trials"]} == {"finished"}


def test_a_cancelled_comparison_saves_its_trials_and_leaves_no_job(folder):
    process = start(folder, *SMALL, *ENDLESS, *ON_SLURM)
    wait_until(lambda: is_training(folder), "none trains", process)
    process.send_signal(signal.SIGINT)
    ended(process, 130)
    name = comparison(folder).name
    wait_until(lambda: not jobs(name), "pilots do not end")
    begun = [run for run in comparison(folder).trials() if run.layers]
    assert begun
    assert all(run.status == "interrupted" and run.has_checkpoint for run in begun)


def test_a_detached_comparison_needs_no_process_but_pilots(folder):
    ended(start(folder, *SMALL, "max_steps=1500", "epochs=100", *ON_SLURM, "--detach"))
    wait_until(lambda: is_training(folder), "none trains")
    leader = comparison(folder).state["pid"]
    os.kill(leader, signal.SIGKILL)  # its login node was switched off
    wait_until(lambda: comparison(folder).state["status"] == "finished", "nobody leads")
    assert comparison(folder).state["pid"] != leader
    name = comparison(folder).name
    wait_until(lambda: not jobs(name), "pilots do not end")


def test_stop_ends_a_detached_comparison(folder):
    ended(start(folder, *SMALL, *ENDLESS, *ON_SLURM, "--detach"))
    wait_until(lambda: is_training(folder), "none trains")
    name = comparison(folder).name
    out, _ = ended(start(folder, "--resume", name, "--stop"))
    assert "interrupted" in out
    wait_until(lambda: not jobs(name), "pilots do not end")


@pytest.mark.parametrize(
    ("word", "said", "hint"),
    [
        ("engine.partition=nope", "partition", "engine.partition=NAME"),
        ("engine.memory=9000G", "memory", "engine.memory=4G"),
        ("engine.minutes=100000", "time limit", "engine.minutes=N"),
        ("engine.constraint=moon", "feature", "engine.constraint=NAME"),
        ("engine.options={nonsense:1}", "nonsense", "engine.options={NAME: VALUE}"),
    ],
)
def test_what_slurm_refuses_is_one_panel(folder, word, said, hint):
    _, err = ended(start(folder, *SMALL, *ON_SLURM, word), 2)
    assert "Slurm refused the pilots" in err
    assert said in err.lower()
    assert hint in " ".join(err.split())
    assert "Traceback" not in err and "sbatch:" not in err
