"""What Windows lacks or refuses, as far as Linux can show it."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradcli.runs import ComparisonDirectory, load_run
from gradcli.system import windows
from gradcli.system.windows import even_if_nobody_reads, replace_file

PACKAGE = Path(__file__).parents[2] / "gradcli"
LIKE_WINDOWS = Path(__file__).parent / "like_windows"

POSIX_ONLY = """
import importlib, pkgutil, sys
for name in ("fcntl", "grp", "pty", "resource", "termios", "tty"):
    sys.modules[name] = None
import gradcli
for one in pkgutil.walk_packages(gradcli.__path__, "gradcli."):
    # What is named after a library imports it, and that is not ours to judge.
    if one.name.split(".")[-1] not in ("__main__", "lightning", "transformers"):
        importlib.import_module(one.name)
print("imported")
"""


def test_every_module_can_be_imported_without_what_only_posix_has(spawn):
    answer = spawn("-c", POSIX_ONLY)
    assert answer.out == "imported\n", answer.err


# What the code names ---------------------------------------------------------------------

#: By module, the names that Windows has not, of those that could be of use here.
LACKING = {
    "os": {
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC", "chown", "confstr"),
        *("fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid"),
        *("getuid", "killpg", "mkfifo", "nice", "openpty", "posix_fallocate", "pread", "pwrite"),
        *(
            "sched_getaffinity",
            "sched_setaffinity",
            "sendfile",
            "set_blocking",
            "setsid",
            "statvfs",
        ),
        *("sync", "sysconf", "uname", "wait", "wait3", "wait4"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP"),
        *("SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "alarm", "pause", "pthread_kill"),
        *("pthread_sigmask", "setitimer", "sigwait"),
    },
    "time": {"clock_gettime", "clock_gettime_ns", "tzset"},
    "socket": {"AF_UNIX", "socketpair"},
}
#: What Windows has in name only: pipes cannot be waited for, and no signal is sent but the end.
MISLEADING = {"selectors", "select", "send_signal"}


def named(source):
    """Yield each name of `LACKING` and `MISLEADING` in a module, and whether something guards it.

    A guard is an `if` or a `try` around it, or an earlier return from its function.
    """

    def visit(node, guarded):
        if isinstance(node, ast.Attribute):
            module = node.value.id if isinstance(node.value, ast.Name) else ""
            if node.attr in LACKING.get(module, ()) or node.attr in MISLEADING:
                yield f"{module}.{node.attr}", guarded
        if isinstance(node, ast.Import):
            yield from ((one.name, guarded) for one in node.names if one.name in MISLEADING)
        body_is_guarded = guarded or isinstance(node, ast.If | ast.IfExp | ast.Try)
        left = False
        for child in ast.iter_child_nodes(node):
            yield from visit(child, body_is_guarded or left)
            left |= isinstance(child, ast.If) and isinstance(child.body[-1], ast.Return)

    yield from visit(ast.parse(source), False)


def test_what_windows_lacks_is_only_used_behind_a_guard():
    bare = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name, guarded in named(path.read_text(encoding="utf-8"))
        if not guarded
    }
    # The engine pins workers only if its constructor has found the call.
    assert bare <= {("engines/local.py", "os.sched_setaffinity")}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("os.killpg(1, 2)", [("os.killpg", False)]),
        ("if hasattr(os, 'killpg'):\n    os.killpg(1, 2)", [("os.killpg", True)]),
        ("def f():\n    if w:\n        return\n    os.killpg(1, 2)", [("os.killpg", True)]),
        ("def f():\n    if w:\n        g()\n    os.killpg(1, 2)", [("os.killpg", False)]),
        ("process.send_signal(2)", [("process.send_signal", False)]),
        ("import selectors", [("selectors", False)]),
        ("getattr(os, 'O_NONBLOCK', 0), text.replace('a', 'b')", []),
    ],
)
def test_a_name_and_its_guard_are_seen(source, expected):
    assert list(named(source)) == expected


def opens_text(call):
    """Whether a call opens a file of text without naming its encoding."""
    name = getattr(call.func, "attr", "")
    if name not in ("read_text", "write_text", "open") or ast.unparse(call.func) in NO_TEXT:
        return False
    if name != "open" and call.args:  # `read_text("utf-8")`
        return name == "write_text" and not any(one.arg == "encoding" for one in call.keywords)
    binary = any(isinstance(one, ast.Constant) and "b" in str(one.value) for one in call.args)
    return not binary and not any(one.arg == "encoding" for one in call.keywords)


#: They open no files of text.
NO_TEXT = {"os.open", "gzip.open", "PIL.Image.open", "Image.open", "archive.open", "source.open"}


def test_every_text_file_has_its_encoding_named():
    """Where none is named, Windows takes cp1252."""
    unnamed = [
        f"{path.relative_to(PACKAGE).as_posix()}:{node.lineno}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text(node)
    ]
    assert not unnamed


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("path.open()", True),
        ("path.open('rb')", False),
    ],
)
def test_a_missing_encoding_is_seen(source, expected):
    assert opens_text(ast.parse(source).body[0].value) == expected


# What Windows refuses --------------------------------------------------------------------


class Refuses:
    """A file that somebody reads for a while."""

    def __init__(self, times):
        self.times, self.asked = times, 0

    def replace(self, target):
        self.asked += 1
        if self.asked <= self.times:
            raise PermissionError(13, "in use")


def test_a_file_that_is_being_read_is_replaced_soon_after(monkeypatch):
    monkeypatch.setattr(windows, "IS_WINDOWS", True)
    file = Refuses(3)
    replace_file(file, Path("target"))
    assert file.asked == 4


def test_a_file_that_stays_open_is_not_replaced(monkeypatch):
    monkeypatch.setattr(windows, "IS_WINDOWS", True)
    monkeypatch.setattr(windows, "_PATIENCE", 0.05)
    with pytest.raises(PermissionError):
        replace_file(Refuses(10**9), Path("target"))


@pytest.mark.skipif(windows.IS_WINDOWS, reason="what other systems do")
def test_elsewhere_a_refusal_is_final():
    file = Refuses(1)
    with pytest.raises(PermissionError):
        replace_file(file, Path("target"))
    assert file.asked == 1


def test_nobody_reads():
    for error in (BrokenPipeError(32, "gone"), OSError(22, "gone, as Windows says it")):
        with even_if_nobody_reads():
            raise error
    with pytest.raises(OSError, match="disk"), even_if_nobody_reads():
        raise OSError(28, "the disk is full")


# A whole session, like on Windows --------------------------------------------------------

SMALL = ("data=mnist5k", "model.hidden=[4]", "threads=1")
COMPARISON = ("compare-optimizers", "data=mnist5k", "model.hidden=[4]", "protocol.tune=false")


@pytest.fixture
def like_windows(tmp_path):
    """Start gradcli with the manners of Windows, in a folder of its own."""
    if windows.IS_WINDOWS or not Path("/proc/self/fd").is_dir():
        pytest.skip("imitates Windows by means of Linux")

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-m", "gradcli", *words],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(LIKE_WINDOWS), str(PACKAGE.parent)]),
                "PYTHONIOENCODING": "cp1252",
                "GRADCLI_RUNS": "runs",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


def said(process):
    """All that a command prints, once it has ended well."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out.decode("cp1252")
    return out.decode("cp1252")


def test_the_imitation_refuses_and_lacks(like_windows, tmp_path):
    (tmp_path / "tried.py").write_text(
        "import os, signal, pathlib\n"
        "assert not hasattr(os, 'killpg') and not hasattr(signal, 'SIGKILL')\n"
        "path = pathlib.Path('open'); file = path.open('w'); pathlib.Path('new').touch()\n"
        "for refused in (lambda: pathlib.Path('new').replace(path), path.unlink,\n"
        "                lambda: os.open('.', os.O_RDONLY), pathlib.Path('a:b').touch,\n"
        "                lambda: pathlib.Path.cwd().rename('../other')):\n"
        "    try:\n        refused()\n    except OSError:\n        continue\n"
        "    raise SystemExit('was not refused')\n"
        "file.close(); path.unlink()\n"
    )
    done = subprocess.run(
        [sys.executable, "tried.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(LIKE_WINDOWS), str(PACKAGE.parent)]),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_training_is_made_resumed_and_removed(like_windows, tmp_path):
    said(like_windows("train", *SMALL, "epochs=1"))
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name in said(like_windows("runs", "list"))
    said(like_windows("train", "--resume", "latest", "epochs=2"))
    assert load_run(path).status == "finished"
    said(like_windows("runs", "rm", "latest", "--yes"))
    assert not path.exists()


def test_a_comparison_is_interrupted_resumed_and_pruned(like_windows, tmp_path):
    words = (*COMPARISON, "--optimizers", "sgd,adam", "--seeds", "2", "-j", "2", "epochs=30")
    process = like_windows(*words)
    deadline = time.monotonic() + 120
    while not any(tmp_path.glob("runs/*/trials/*/layers.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    (path,) = (tmp_path / "runs").iterdir()
    begun = [run.status for run in ComparisonDirectory(path).trials()]
    assert begun
    assert set(begun) <= {"interrupted", "finished"}

    assert "4 finished" in said(like_windows(*words))
    said(like_windows("runs", "prune", "--checkpoints", "--yes"))
    assert not list(path.rglob("*.pt"))
