"""Python on Linux with the manners of Windows, as far as they can be imitated.

Python imports this first of all if its folder is in `PYTHONPATH`. What Windows lacks is gone, and
what it refuses is refused: to rename or to delete what any process has open, to open a folder, to
give a file a name with a colon. Other programs' view of files, consoles, the spelling of paths and
the C library are those of Linux.
"""

import importlib
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# What chooses its ways by the name of the system finds all of Linux.
for used in ("ctypes", "filelock", "multiprocessing.connection", "platformdirs.unix", "torch"):
    importlib.import_module(used)

for module in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[module] = None

_KILL = signal.SIGKILL
_SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}
for name in dir(signal):
    if name.startswith("SIG") and "_" not in name and name not in _SIGNALS:
        delattr(signal, name)
for name in ("alarm", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"):
    delattr(signal, name)

for name in (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "chroot", "confstr"),
    *("fchmod", "fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid"),
    *("getuid", "killpg", "mkfifo", "nice", "openpty", "sched_getaffinity", "sched_setaffinity"),
    *("set_blocking", "setsid", "statvfs", "sync", "sysconf", "uname"),
):
    delattr(os, name)

shutil._use_fd_functions = False  # it goes through folders by their names


class _Popen(subprocess.Popen):
    def __init__(self, *words, creationflags=0, **more):
        assert not more.keys() & {"process_group", "preexec_fn", "start_new_session"}
        # The only one of the flags that is used. Linux has the same by another name.
        super().__init__(*words, process_group=0 if creationflags else None, **more)

    def send_signal(self, number):
        raise ValueError(f"Unsupported signal: {number}")

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, _KILL)

    terminate = kill


subprocess.Popen = _Popen


def _open_files():
    """What any process has open, and what this one has mapped into its memory."""
    for file in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it was closed
            yield str(file.readlink())
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        yield line.split(maxsplit=5)[-1]


def _refuse_open(path):
    """Refuse a file that is open, or a folder with one."""
    path = os.path.realpath(os.fsdecode(path))
    if any(one == path or one.startswith(path + "/") for one in _open_files()):
        raise PermissionError(13, "The process cannot access the file", path)


def _refuse_name(path):
    for part in Path(os.fsdecode(path)).parts:
        if set(part) & set('<>:"|?*\\') or (part != part.rstrip(" .") and set(part) != {"."}):
            raise OSError(22, "The file name is not correct", path)


def _like_windows(event, arguments):
    if event == "os.rename":
        source, target = arguments[:2]
        _refuse_name(target)
        _refuse_open(source)
        _refuse_open(target)
    elif event in ("os.remove", "os.rmdir") and isinstance(arguments[0], str | bytes | os.PathLike):
        _refuse_open(arguments[0])
    elif event == "os.mkdir":
        _refuse_name(arguments[0])
    elif event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        path, mode, flags = arguments
        writes = flags & (os.O_WRONLY | os.O_RDWR)
        if writes and not os.fsdecode(path).startswith(("/dev/", "/proc/")):
            _refuse_name(path)
        unnamed = flags & os.O_TMPFILE == os.O_TMPFILE  # Windows has such files, too
        if mode is None and Path(os.fsdecode(path)).is_dir() and not unnamed:
            raise PermissionError(13, "Permission denied", path)


sys.addaudithook(_like_windows)

windows = importlib.import_module("gradcli.system.windows")
windows.IS_WINDOWS, windows.NOT_IN_NAMES = True, '<>:"/\\|?*\0'
