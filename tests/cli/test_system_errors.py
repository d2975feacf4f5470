"""Full disks, missing rights and broken outputs: one panel, an honest exit code, the data right."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

import gradcli as library
from gradcli.errors import OperatingSystemError
from gradcli.runs import load_checkpoint, load_run
from gradcli.runs.files import write_atomically

resource = pytest.importorskip("resource", reason="limits of a process are of POSIX")

SMALL = ("data=mnist5k", "model=logreg", "optimizer=sgd", "batch_size=400")
REFUSED = OperatingSystemError.exit_code
_DROP_CAPABILITY = 24  # of prctl(2), from linux/prctl.h
_IGNORING_PERMISSIONS = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A runs directory with one small run that has ended."""
    runs = tmp_path_factory.mktemp("small") / "runs"
    library.train(*SMALL, "epochs=1", runs_dir=runs)
    return runs


def run_of(runs_dir):
    """The only run in a runs directory."""
    (path,) = runs_dir.glob("2*")
    return load_run(path)


def shell(script, runs, **options):
    """Run a line of the shell in which `$GRADCLI` is the command."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        env={
            **os.environ,
            "GRADCLI": f"{sys.executable} -m gradcli",
            "GRADCLI_RUNS": str(runs),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        **options,
    )


def assert_refused(done, *words):
    """Assert that a command ended with a panel on stderr that says all `words`."""
    err = done.stderr if isinstance(done, subprocess.CompletedProcess) else done.err
    code = done.returncode if isinstance(done, subprocess.CompletedProcess) else done.code
    assert (code, "Traceback" in err, "Exception ignored" in err) == (REFUSED, False, False), err
    assert err.count("error: ") == 1
    for word in words:
        assert word in err


def obey_permissions():
    """Take from this process what lets root ignore the permissions of files."""
    if os.geteuid() == 0:
        for capability in _IGNORING_PERMISSIONS:
            ctypes.CDLL(None).prctl(_DROP_CAPABILITY, capability, 0, 0, 0)


@contextmanager
def disk_with(size):
    """Let no file become larger than `size` bytes, as if the disk were full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only(folder):
    """Forbid to write in a folder and in all below it."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


# The streams


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("runs list >/dev/full", ["The disk is full.", "where: stdout"]),
        ("runs list >&-", ["It is closed.", "where: stdout"]),
        ("runs list --json >/dev/full", ["The disk is full.", "where: stdout"]),
        ("runs list --json >&-", ["It is closed.", "where: stdout"]),
        ("runs export latest >/dev/full", ["The disk is full.", "where: stdout"]),
        ("train --show-config >/dev/full", ["The disk is full.", "where: stdout"]),
        ("--help >/dev/full", ["The disk is full."]),
        ("--version >&-", ["It is closed."]),
    ],
)
def test_a_result_that_cannot_be_written_is_an_error(command, says, runs):
    assert_refused(shell(f"$GRADCLI {command}", runs), *says)


@pytest.mark.parametrize("nowhere", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_a_result_does_not_need_stderr(nowhere, runs):
    done = shell(f"$GRADCLI runs show latest {nowhere}", runs)
    assert done.returncode == 0
    assert done.stdout.startswith("finished")


def test_an_error_has_its_exit_code_without_stderr(runs):
    assert shell("$GRADCLI runs show nope 2>/dev/full", runs).returncode == 2
    assert shell("$GRADCLI runs list >/dev/full 2>/dev/full", runs).returncode == REFUSED


def test_a_training_whose_streams_are_closed_is_stored(tmp_path):
    """A file must not get the number of a closed stream, or what is printed is written into it."""
    words = " ".join([*SMALL, "max_steps=8"])
    assert shell(f"$GRADCLI train {words} <&- >&- 2>&-", tmp_path).returncode == REFUSED
    run = run_of(tmp_path)
    assert (run.status, run.steps.step.tolist()) == ("finished", list(range(1, 9)))
    assert run.state["result"]["test"] > 0
    assert (run.path / "plots" / "loss.png").exists()


@pytest.mark.parametrize("words", [["runs", "list"], ["runs", "list", "--json"], ["--help"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_ends_it_quietly(words, stream, spawn, runs):
    """As `| head -1` closes it; here before the first line, so that no luck is needed."""
    reader, writer = os.pipe()
    os.close(reader)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer}
    done = subprocess.run(
        [sys.executable, "-m", "gradcli", *words],
        **pipes,
        env={**os.environ, "GRADCLI_RUNS": str(runs)},
        check=False,
    )
    os.close(writer)
    assert done.returncode == (141 if stream == "stdout" else 0)
    assert not done.stderr


def test_the_first_line_of_a_long_export_is_enough(runs):
    done = shell("$GRADCLI runs export latest | head -n 1", runs)
    assert done.returncode in (0, 141)
    assert done.stdout.startswith("step,epoch,loss")
    assert done.stderr.startswith("latest is ")
    assert len(done.stderr.splitlines()) == 1


def test_all_output_can_be_ascii(tmp_path):
    """Where Python itself would write ASCII, too, with a directory that is not."""
    runs = tmp_path / "Läufe"
    plain = "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
    words = " ".join([*SMALL, "max_steps=8"])
    done = shell(f"{plain} $GRADCLI train {words} && {plain} $GRADCLI runs show latest", runs)
    assert (done.returncode, done.stdout.isascii(), done.stderr.isascii()) == (0, True, True)
    assert done.stdout.count("finished") == 2


# The disk


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """A run of 1,000 steps that nothing has happened to."""
    runs = tmp_path_factory.mktemp("long") / "runs"
    library.train(*SMALL, "epochs=100", runs_dir=runs)
    return run_of(runs)


@pytest.mark.parametrize(("size", "file"), [(20_000, "last.pt"), (45_000, "steps.bin")])
def test_a_training_on_a_full_disk_can_be_resumed(size, file, long_run, gradcli, runs_dir):
    with disk_with(size):
        answer = gradcli("train", *SMALL, "epochs=100", "--quiet")
    assert_refused(answer, "larger than the system allows", file)
    run = run_of(runs_dir)
    assert run.status == "failed"
    assert f"try: gradcli train --resume {run.path}" in answer.err
    assert not list(run.path.rglob(".*"))
    assert gradcli("train", "--resume", str(run.path), "--quiet").code == 0
    steps = (run.path / "steps.bin").read_bytes()
    assert steps == (long_run.path / "steps.bin").read_bytes()
    ends = [load_checkpoint(path)["model"] for path in (run.path, long_run.path)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


@pytest.mark.parametrize("floats", [400_000, 124_800])
def test_what_the_system_said_is_not_hidden_by_torch(floats, tmp_path):
    state = {"weights": torch.zeros(floats)}
    with disk_with(499_000), pytest.raises(OSError, match="too large") as caught:
        write_atomically(tmp_path / "last.pt", lambda file: torch.save(state, file))
    assert caught.value.filename == str(tmp_path / "last.pt")
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_moved_away_while_it_trains(tmp_path):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    words = ["train", "--no-live", "--runs-dir", str(runs), *SMALL, "epochs=100000"]
    with subprocess.Popen(
        [sys.executable, "-m", "gradcli", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch 2/"):
                break
        (path,) = runs.iterdir()
        path.rename(elsewhere)
        err = process.communicate(timeout=120)[1]
    assert process.returncode == REFUSED, err
    assert f"error: The folder {path} does not exist any more." in err
    assert "Traceback" not in err
    assert "--resume" not in err
    assert load_run(elsewhere).status == "lost"


def test_a_deleted_working_directory(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell("rmdir ../gone && $GRADCLI train", tmp_path / "runs", cwd=gone)
    assert_refused(done, "The working directory does not exist any more.")
    assert not (tmp_path / "runs").exists()


def test_a_working_directory_that_vanishes_does_not_lose_the_result(tmp_path, monkeypatch):
    class Removes(library.Recorder):
        def begin(self, info, path, settings):
            gone.rmdir()

    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    runs = tmp_path / "runs"
    assert library.train(*SMALL, "max_steps=8", runs_dir=runs, recorders=[Removes()])
    assert run_of(runs).status == "finished"


def test_a_read_only_run_is_read_and_not_changed(runs):
    path = run_of(runs).path
    with read_only(runs):
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        shown, resumed, drawn = (
            shell(f"$GRADCLI {words}", runs, preexec_fn=obey_permissions)
            for words in (
                "runs show latest",
                f"train --resume {path} epochs=4",
                f"inspect-gradients {path} --plot",
            )
        )
        assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert shown.returncode == 0
    assert_refused(resumed, "Permission denied.", f"where: {path}")
    assert drawn.returncode == 0
    assert drawn.stdout
    assert "The pictures could not be drawn. PermissionError" in drawn.stderr
    assert "Traceback" not in drawn.stderr


def test_an_export_to_a_folder_that_is_read_only(runs, tmp_path):
    with read_only(tmp_path):
        done = shell(
            f"$GRADCLI runs export -o {tmp_path}/steps.csv", runs, preexec_fn=obey_permissions
        )
    assert_refused(done, "Permission denied.", f"where: {tmp_path}/steps.csv")


def test_an_export_to_a_full_disk(runs, gradcli, tmp_path):
    with disk_with(100):
        answer = gradcli("runs", "export", str(run_of(runs).path), "-o", str(tmp_path / "out.csv"))
    assert_refused(answer, "larger than the system allows", str(tmp_path / "out.csv"))


@pytest.mark.parametrize("words", [(), ("--format", "jsonl")])
def test_an_export_that_fails_leaves_the_file_as_it_was(words, runs, gradcli, tmp_path):
    (old := tmp_path / "out").write_text("old")
    export = ("runs", "export", str(run_of(runs).path), "-o", str(old), *words)
    with disk_with(100):
        assert_refused(gradcli(*export, "--force"), "larger than the system allows", str(old))
    assert old.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing is left beside it"
    assert gradcli(*export, "--force").code == 0
    assert len(old.read_text().splitlines()) >= 10


def test_an_export_to_a_device_does_not_replace_it(runs, gradcli):
    assert gradcli("runs", "export", str(run_of(runs).path), "-o", os.devnull).code == 0
    assert not os.path.isfile(os.devnull)  # noqa: PTH113


@pytest.mark.parametrize("words", ["runs list", "runs show latest", "runs show 2026 --json"])
def test_runs_of_a_deleted_working_directory(words, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell(f"rmdir ../gone && $GRADCLI {words}", "runs", cwd=gone)
    assert_refused(done, "The working directory does not exist any more.")


def test_a_named_pipe_instead_of_a_lock_hangs_no_command(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    run = run_of(tmp_path / "runs").path
    (run / "lock").unlink()
    os.mkfifo(run / "lock")
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "status": "running"}))
    for words, code in (
        ("runs list", 0),
        (f"runs show {run}", 0),
        (f"inspect-gradients {run}", 0),
        (f"train --resume {run}", REFUSED),
        (f"runs rm --yes {run}", 0),
    ):
        done = shell(f"timeout 60 $GRADCLI {words}", tmp_path / "runs")
        assert done.returncode == code, (words, done.stderr)
        assert "Traceback" not in done.stderr
    assert not run.exists()


# The pictures


def fail_to_draw(*arguments):
    raise OSError(28, "No space left on device")


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_an_error_while_drawing_is_a_warning(gradcli, runs_dir, monkeypatch):
    monkeypatch.setattr("gradcli.views.draw.run_figures.plot_run", fail_to_draw)
    answer = gradcli("train", *SMALL, "max_steps=8", "--no-live")
    assert answer.code == 0
    assert "The pictures could not be drawn. OSError: [Errno 28] No space left" in answer.message
    assert answer.out.startswith("finished")


def test_results_are_stored_before_they_are_drawn(gradcli, runs_dir, monkeypatch):
    monkeypatch.setattr("gradcli.views.draw.run_figures.plot_run", interrupt)
    assert gradcli("train", *SMALL, "max_steps=8").code == 130
    state = json.loads((run_of(runs_dir).path / "run.json").read_text())
    assert state["status"] == "finished"
    assert state["result"]["test"] > 0


def test_a_comparison_is_stored_before_it_is_drawn(
    gradcli, runs_dir, monkeypatch, trials_in_this_process
):
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", interrupt)
    words = (
        "--optimizers",
        "sgd,adam",
        "--seeds",
        "2",
        "protocol.learning_rates=3",
        "protocol.widenings=0",
    )
    assert gradcli("compare-optimizers", *words, *SMALL[:2], "max_steps=4").code == 130
    (path,) = runs_dir.glob("2*")
    state = json.loads((path / "comparison.json").read_text())
    assert state["status"] == "finished"
    assert state["result"]["ranking"]
