"""Who works in a directory: the lock of this machine, and a lease for all others.

The lock ends with its process, however the process ends, but only this machine sees it: on a shared
disk another machine may be granted the same lock. A lease says who holds the directory, and its
file is touched every few seconds. Another machine takes it over once it has seen it untouched for
`LEASE_SECONDS` by its own clock, so that clocks may differ. On the machine of the holder the lock
alone decides: what a killed process held is free at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gradcli.errors import LostLeaseError, SilentHolderWarning
from gradcli.system.windows import IS_WINDOWS

if TYPE_CHECKING:
    from filelock import OwnerRecord, SoftFileLease

LOCK_FILE = "lock"
LEASE_FILE = "lease"
#: How long the holder must not have been heard of before another machine takes over.
LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 5.0
#: How long to wait for a lease that is just being released.
_BRIEFLY = 1.0
#: What a lease takes to be free that a crash of the machine tore, and that names nobody: filelock
#: looks at it for two seconds.
_TORN_SECONDS = 2.5
#: The number of the namespace of processes that Linux begins with.
_FIRST_NAMESPACE = 0xEFFFFFFC
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RunLock:
    """The right to work in a directory, held until `release` or the end of the process.

    Raises:
        BlockingIOError: if another process has it. If that is on another machine and has not been
            heard of for long, this waits until it may take over, and warns of that.
        FileExistsError: if something else than a file has the name of the lock.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = os.fdopen(_opened(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT), "rb")
        try:
            _lock(self._file.fileno())
            self._lease = _leased(directory)
        except BaseException:
            self._file.close()
            raise
        self._held_at = _seconds()

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *reason: object) -> None:
        self.release()

    def refuse_if_lost(self) -> None:
        """Make sure that nobody took over while this process stood still, before it writes.

        The file is looked at if that was not done within a heartbeat. What was released is not held
        any more, and cannot be lost.

        Raises:
            LostLeaseError: if somebody did.
        """
        now = _seconds()
        if self._file.closed:
            return
        if now - self._held_at < HEARTBEAT_SECONDS and self._lease.compromise is None:
            return
        owner = self._lease.owner
        if owner is None or owner.token != self._lease.token:
            raise LostLeaseError(
                f"{self._directory} was taken over by {_named(owner)} while this process stood "
                "still. It stops, and has written nothing since.",
                where=str(self._directory),
                hint=f"gradcli runs show {self._directory}",
            )
        self._held_at = now

    def release(self) -> None:
        """Release the directory; safe to call again."""
        try:
            self._lease.release()
        finally:
            self._file.close()


@contextmanager
def momentary_lock(directory: Path) -> Iterator[None]:
    """Hold a directory for less than a heartbeat, without a lease that others could look at.

    Raises:
        BlockingIOError: if another process has it, on this machine or another.
        FileExistsError: if something else than a file has the name of the lock.
    """
    with os.fdopen(_opened(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT), "rb") as file:
        _lock(file.fileno())
        if (owner := elsewhere(directory)) is not None:
            raise BlockingIOError(errno.EAGAIN, f"{_named(owner)} works in it")
        yield


def is_locked(directory: Path) -> bool:
    """Whether a living process works in `directory`, on this machine or another.

    Another machine's process counts as living if its lease was touched less than `LEASE_SECONDS`
    ago by the clock of the file system.
    """
    try:
        descriptor = _opened(directory / LOCK_FILE, os.O_RDONLY)
    except (FileNotFoundError, FileExistsError, NotADirectoryError):  # nothing that can be held
        return False
    with os.fdopen(descriptor, "rb") as file:
        if _is_held(file.fileno()):
            return True
    holder = elsewhere(directory)
    return holder is not None and _silence(directory) < LEASE_SECONDS


def is_at_work(directory: Path) -> bool:
    """Whether a living process seems to work in `directory`, by looking alone.

    Unlike `is_locked`, this tries no lock and writes nothing, so that whoever asks time and again
    is in nobody's way. It goes by the lease: by the process that it names, if that is of this
    machine, and else by when it was last touched, by the clock of this machine.
    """
    path = directory / LEASE_FILE
    try:
        silence = time.time() - path.stat().st_mtime
        owner = _lease(directory).owner
    except OSError:  # nobody's, or of another user's
        return False
    if owner is None:
        return False
    is_fresh = silence < LEASE_SECONDS
    if IS_WINDOWS or not _is_here(owner) or not _sees_processes_of(owner):
        return is_fresh
    return _runs(owner.pid, owner.start, is_fresh)


def _sees_processes_of(owner: OwnerRecord) -> bool:
    """Whether a process number means the same to the holder of a lease: containers have their own.

    filelock marks the name of a machine in a container with the container's namespace.
    """
    mark = owner.hostname.partition("?")[2]
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:  # not Linux
        return not mark
    return mark.endswith(f"-{namespace:x}") if mark else namespace == _FIRST_NAMESPACE


def _runs(pid: int, start: int | None, is_fresh: bool) -> bool:
    """Whether a process of this machine lives; its number may have become another one's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return is_fresh
    try:
        stated = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:  # not Linux, or gone since
        return is_fresh
    state, *fields = stated[stated.rindex(b")") + 1 :].split()
    if state == b"Z":  # killed, and nobody has asked how it ended
        return False
    return start is None or int(fields[18]) == start % 2**64 or is_fresh


def elsewhere(directory: Path) -> OwnerRecord | None:
    """Return who holds the lease of a directory on another machine; None if nobody does."""
    if not (directory / LEASE_FILE).exists():
        return None
    owner = _lease(directory).owner
    return None if owner is None or _is_here(owner) else owner


def _leased(directory: Path) -> SoftFileLease:
    """Take the lease of a directory whose lock this process holds."""
    from filelock import Timeout

    lease = _lease(directory)
    owner = lease.owner
    if owner is not None and _is_here(owner):  # whose lock is gone, and so is it
        lease.force_break()
    try:
        lease.acquire(timeout=_BRIEFLY)
    except Timeout:
        try:
            lease.acquire(timeout=_patience(directory, lease.owner))
        except Timeout:
            raise BlockingIOError(errno.EAGAIN, f"{_named(lease.owner)} works in it") from None
    return lease


def _patience(directory: Path, owner: OwnerRecord | None) -> float:
    """Return how long to wait for a lease that somebody else seems to hold, in seconds.

    Raises:
        BlockingIOError: if the holder was heard of lately.
    """
    if owner is None:
        path = directory / LEASE_FILE
        if _is_empty(path):
            time.sleep(_TORN_SECONDS)
            if _is_empty(path):
                _remove_empty(path)
        return 2 * _TORN_SECONDS
    silence = _silence(directory)
    if silence < LEASE_SECONDS:
        raise BlockingIOError(errno.EAGAIN, f"{_named(owner)} works in it")
    warnings.warn(
        f"{_named(owner).capitalize()} was at work in {directory} and has not been heard of for "
        f"{silence:.0f} s. It is taken over in {LEASE_SECONDS:.0f} s, unless it is heard of.",
        SilentHolderWarning,
        stacklevel=4,
    )
    return LEASE_SECONDS + 2 * HEARTBEAT_SECONDS


def _is_empty(path: Path) -> bool:
    return path.exists() and path.stat().st_size == 0


def _remove_empty(path: Path) -> None:
    """Remove a lease without content, which filelock takes for one that is being written.

    That takes no time, so it is what a crash left. If another process has written its lease in this
    very moment, it is put back.
    """
    apart = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(apart)
    except FileNotFoundError:  # another process has removed it
        return
    if apart.stat().st_size:
        os.link(apart, path)
    apart.unlink()


def _lease(directory: Path) -> SoftFileLease:
    from filelock import SoftFileLease

    return SoftFileLease(
        directory / LEASE_FILE,
        lease_duration=LEASE_SECONDS,
        heartbeat_interval=HEARTBEAT_SECONDS,
        thread_local=False,  # a writer may be closed by another thread than opened it
    )


def _is_here(owner: OwnerRecord) -> bool:
    """Whether a lease was taken on this machine since it was started."""
    boot = 0 if owner.start is None else owner.start >> 64  # how filelock records it on Linux
    return plain_host(owner) == socket.gethostname() and boot in (0, _boot())


def plain_host(owner: OwnerRecord) -> str:
    """Return the name of the machine of a lease, without the mark of a container."""
    return owner.hostname.partition("?")[0]


def _boot() -> int:
    """Return the number that Linux gives each start of a machine; 0 if there is none."""
    try:
        return int(_BOOT_ID.read_text(encoding="ascii").replace("-", ""), 16)
    except (OSError, ValueError):
        return 0


def _named(owner: OwnerRecord | None) -> str:
    if owner is None:
        return "another process"
    return f"process {owner.pid} on {plain_host(owner)}"


def _silence(directory: Path) -> float:
    """Return for how many seconds the lease has not been touched; infinite without a lease.

    Both times are of the file system, because the clocks of machines differ.
    """
    try:
        touched = (directory / LEASE_FILE).stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    try:
        with tempfile.TemporaryFile(dir=directory) as new:
            now = os.fstat(new.fileno()).st_mtime
    except OSError:  # a directory of somebody else's
        now = time.time()
    return max(now - touched, 0.0)


def _seconds() -> float:
    """Return the time since the start of the machine; on Linux with the time that it slept."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def _lock(descriptor: int) -> None:
    """Lock a file for this process alone.

    Raises:
        BlockingIOError: if another process of this machine has locked it.
    """
    from filelock import lock_descriptor

    if not lock_descriptor(descriptor, blocking=False):
        raise BlockingIOError(errno.EAGAIN, "another process works in it")


def _is_held(descriptor: int) -> bool:
    """Whether a process of this machine has locked a file.

    Where there are shared locks, one is tried: two processes that look at once must not take each
    other for the holder.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        from filelock import lock_descriptor

        return not lock_descriptor(descriptor, blocking=False)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _opened(path: Path, flags: int) -> int:
    """Open the file of a lock without waiting, as a named pipe would make its opener do.

    Raises:
        FileExistsError: if something else than a file has its name.
    """
    own = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # Windows has neither
    file = os.open(path, flags | own, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileExistsError(errno.EEXIST, "It is not a regular file", str(path))
    return file
