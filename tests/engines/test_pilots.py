"""Pilots as processes of this machine, through submitit: as on a cluster, but for the scheduler."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gradcli.config import compose_comparison
from gradcli.engines.pilots.queue import JobQueue, PilotDesk
from gradcli.errors import UserError
from gradcli.runs import ComparisonDirectory

pytest.importorskip("submitit")

SMALL = (
    *("--optimizers", "sgd,adam", "--lrs", "0.01,0.1", "--seeds", "2"),
    *("data=mnist5k", "model.hidden=[8]", "max_steps=300", "protocol.tuning_seeds=1"),
)
ON_PILOTS = ("engine=slurm", "engine.cluster=local", "engine.workers=2")
ENDLESS = ("max_steps=100000", "epochs=10000")
SECONDS = 240


@pytest.fixture
def start(tmp_path):
    """Start `gradcli compare-optimizers` in a process; whatever is left ends with the test."""
    processes = []

    def run(*words, **options):
        command = [sys.executable, "-m", "gradcli", "compare-optimizers", "--no-live", *words]
        environment = {**os.environ, "GRADCLI_RUNS": str(tmp_path / "runs")}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, **pipes, **options)
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()
    for pid in pilot_processes(tmp_path):
        os.kill(pid, signal.SIGKILL)


def pilot_processes(folder):
    """The processes of pilots and of leaders that work below a folder."""
    listed = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line for line in listed.stdout.splitlines() if str(folder) in line]
    return [int(line.split()[0]) for line in lines if "_submit" in line or "--resume" in line]


def pilots_only(folder):
    return [pid for pid in pilot_processes(folder) if "_submit" in command_of(pid)]


def command_of(pid):
    return subprocess.run(
        ["ps", "-wwo", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def wait_until(is_so, what, process=None):
    """Wait, but not for a process that has failed."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.1)


def comparison(folder):
    (path,) = (folder / "runs").glob("*-compare-*")
    return ComparisonDirectory(path)


def has_begun(folder):
    """Whether pilots are at work on trials."""
    try:
        return bool(JobQueue(comparison(folder).path).hands())
    except ValueError:
        return False


def table(result):
    """What a comparison found, without times."""
    arms = ("arm", "lr", "test", "val", "train_loss", "grad_norm", "steps_to_target")
    trials = ("id", "arm", "status", "steps", "val", "test", "train_loss")
    return (
        [{key: arm[key] for key in arms} for arm in result["ranking"]],
        sorted(
            [{key: trial.get(key) for key in trials} for trial in result["trials"]],
            key=lambda trial: (trial["arm"], trial["id"]),
        ),
        result["pairs"],
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The table of the same comparison in one process."""
    folder = tmp_path_factory.mktemp("serial")
    words = ["compare-optimizers", *SMALL, "--engine", "serial", "--json", "--no-live"]
    environment = {**os.environ, "GRADCLI_RUNS": str(folder)}
    said = subprocess.run(
        [sys.executable, "-m", "gradcli", *words], env=environment, capture_output=True, check=True
    )
    return table(json.loads(said.stdout))


def test_pilots_give_the_table_of_one_process_even_if_they_are_killed(start, tmp_path, expected):
    process = start(*SMALL, *ON_PILOTS, "--json")
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun", process)
    for _ in range(3):
        wait_until(lambda: pilots_only(tmp_path), "no pilot lives", process)
        os.kill(pilots_only(tmp_path)[0], signal.SIGKILL)
        time.sleep(1)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert table(json.loads(out)) == expected
    assert comparison(tmp_path).state["info"]["engine"] == "slurm"
    wait_until(lambda: not pilot_processes(tmp_path), "pilots do not end")


def test_pilots_go_on_without_the_process_that_led_them(start, tmp_path, expected):
    process = start(*SMALL, *ON_PILOTS)
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun", process)
    process.kill()
    process.communicate()
    wait_until(lambda: comparison(tmp_path).state["status"] == "finished", "nobody leads")
    state = comparison(tmp_path).state
    assert table(state["result"]) == expected
    assert state["pid"] != process.pid
    wait_until(lambda: not pilot_processes(tmp_path), "pilots do not end")


def test_ctrl_c_saves_what_runs_and_ends_the_pilots(start, tmp_path):
    process = start(*SMALL, *ON_PILOTS, *ENDLESS, start_new_session=True)
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun", process)
    wait_until(lambda: any(run.layers for run in comparison(tmp_path).trials()), "none trains")
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130, err
    assert comparison(tmp_path).status == "interrupted"
    wait_until(lambda: not pilot_processes(tmp_path), "pilots do not end")
    begun = [run for run in comparison(tmp_path).trials() if run.layers]
    assert begun
    assert all(run.status == "interrupted" and run.has_checkpoint for run in begun)
    assert JobQueue(comparison(tmp_path).path).pilots() == []


def test_a_pilot_that_is_warned_gives_its_trial_to_another(start, tmp_path):
    process = start(
        *SMALL, *ON_PILOTS, "max_steps=1500", "epochs=100", "engine.workers=1", "--json"
    )
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun", process)
    wait_until(lambda: any(run.layers for run in comparison(tmp_path).trials()), "none trains")
    (run, *_) = comparison(tmp_path).trials()
    (pilot,) = pilots_only(tmp_path)
    os.kill(pilot, signal.SIGUSR2)
    wait_until(lambda: pilot not in pilots_only(tmp_path), "it does not end")
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "retrying" not in err  # it had not failed
    state = ComparisonDirectory(comparison(tmp_path).path).trial(run.name).state
    assert len(state["parts"]) == 2 and state["parts"][1]["start_step"] > 0
    assert {trial["status"] for trial in json.loads(out)["trials"]} == {"finished"}


def test_a_comparison_is_detached_watched_and_stopped(start, tmp_path):
    process = start(*SMALL, *ON_PILOTS, *ENDLESS, "--detach")
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    path = comparison(tmp_path).path
    assert f"gradcli compare-optimizers --resume {path}" in err
    assert comparison(tmp_path).status == "running"
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun")

    watching = start("--resume", path.name)
    wait_until(lambda: "sgd" in watching.stderr.readline(), "nothing is shown")
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=SECONDS)
    assert watching.returncode == 130
    assert "--stop" in err
    assert comparison(tmp_path).status == "running"

    watching = start("--resume", path.name)
    wait_until(lambda: "sgd" in watching.stderr.readline(), "nothing is shown")
    stopping = start("--resume", path.name, "--stop")
    out, err = stopping.communicate(timeout=SECONDS)
    assert stopping.returncode == 0, err
    assert "interrupted" in out
    assert comparison(tmp_path).status == "interrupted"
    watching.communicate(timeout=SECONDS)
    assert watching.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not pilot_processes(tmp_path), "pilots do not end")


def test_stop_needs_a_comparison_and_detach_has_no_result(gradcli, runs_dir):
    answer = gradcli("compare-optimizers", "--stop")
    assert (answer.code, "--resume latest --stop" in answer.message) == (2, True)
    answer = gradcli("compare-optimizers", "--detach", "--json")
    assert (answer.code, "--json" in answer.message) == (2, True)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # the last pilots are still about to end
)
def test_pilots_that_cannot_begin_are_not_started_for_ever(tmp_path, monkeypatch, gradcli):
    monkeypatch.setattr("gradcli.engines.slurm.local_fleet.run_pilot", os.getcwdb)  # no argument
    monkeypatch.setattr("gradcli.engines.pilots.pilot_engine._SECONDS_BETWEEN_MUSTERS", 0.5)
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    answer = gradcli("compare-optimizers", *SMALL, *ON_PILOTS, "--no-live")
    assert answer.code == 2
    assert "pilots have ended before they claimed a trial" in answer.message
    assert "TypeError" in answer.message


def test_a_pilot_is_named_by_its_own_scheduler_and_no_stranger_is_signalled(
    start, tmp_path, monkeypatch
):
    """In a shell of an allocation, pilots of this machine would be called by its job."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    monkeypatch.setenv("SLURM_JOB_ID", str(stranger.pid))
    process = start(*SMALL, *ON_PILOTS, *ENDLESS)
    wait_until(lambda: has_begun(tmp_path), "no pilot has begun", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=SECONDS)
    wait_until(lambda: not pilot_processes(tmp_path), "pilots do not end")
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_pilot_of_another_machine_counts_and_is_not_signalled(tmp_path, monkeypatch):
    from gradcli.engines.slurm.local_fleet import LocalFleet

    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(pid))
    JobQueue(tmp_path).lead()
    desk = PilotDesk(tmp_path, "11")
    monkeypatch.setattr("socket.gethostname", lambda: "far-away")
    other = PilotDesk(tmp_path, "12")
    fleet = LocalFleet(tmp_path, 1, 10)
    assert fleet.count() == 2
    fleet.end("11")
    fleet.end_all(also_those_at_work=True)
    assert killed == [12]
    desk.leave()
    other.leave()


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["engine.idle_seconds=-1"], "above 0", "engine.idle_seconds=60"),
        (["engine.cluster=slum"], "no cluster slum", "engine.cluster=slurm"),
        (["engine.minutes=1"], "as soon as they begin", "engine.minutes=3"),
        (["engine.workers=0"], "must be 1 or more", "--jobs 1"),
    ],
)
def test_what_cannot_be_asked_of_slurm_is_refused(gradcli, runs_dir, words, problem, hint):
    answer = gradcli("compare-optimizers", *SMALL, "engine=slurm", *words)
    assert (answer.code, problem in answer.message, hint in answer.message) == (2, True, True)
    assert not runs_dir.exists() or not list(runs_dir.iterdir())


def test_without_submitit_one_line_says_what_to_install(gradcli, runs_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    answer = gradcli("compare-optimizers", *SMALL, "engine=slurm")
    assert (answer.code, "pip install 'gradcli[slurm]'" in answer.message) == (2, True)


def test_without_slurm_it_is_said_where_jobs_are_submitted(tmp_path, monkeypatch):
    from gradcli.engines.slurm.slurm_fleet import SlurmFleet

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="no sbatch"):
        SlurmFleet(tmp_path, {})


def test_the_engine_is_composed_without_submitit_or_torch():
    words = ["engine=slurm", "engine.partition=long"]
    code = (
        "import sys; from gradcli.config import compose_comparison; "
        f"compose_comparison({words!r}, []); "
        "print({'torch', 'submitit', 'ray'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\n"
    assert compose_comparison(words, []).config.engine.arguments["partition"] == "long"
