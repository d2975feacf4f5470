"""Starting and stopping the daemons of a Slurm cluster of one node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from slurm_conf import Machine, slurm_conf

FOLDER = Path("/run/slurm-node")
CONF = FOLDER / "slurm.conf"
#: In the order in which they start.
DAEMONS = ("munged", "slurmctld", "slurmd")
PACKAGES = ("slurm-wlm", "munge")
POLICY = Path("/usr/sbin/policy-rc.d")


class NodeError(Exception):
    """Something that keeps the node from coming up or going down."""


def up() -> None:
    """Start the node, and return once it takes jobs."""
    if running():
        raise NodeError(f"up already ({', '.join(running())}); `down` stops it")
    install()
    write_files()
    try:
        start("munged", *(f"--{kind}={path}" for kind, path in munge_files().items()))
        start("slurmctld", "-c")
        start("slurmd", "-c")
        wait_until(lambda: ask("sinfo", "--noheader", "--format=%T") == "idle", 60, "an idle node")
    except BaseException:  # Ctrl-C too
        stop_daemons()
        raise
    print(f"Slurm is up: export SLURM_CONF={CONF}", flush=True)


def down() -> None:
    """Cancel all jobs and stop the daemons."""
    try:
        if running().keys() == set(DAEMONS):
            for partition in ask("sinfo", "--noheader", "--format=%R").split():
                ask("scancel", f"--partition={partition}")
            wait_until(lambda: not ask("squeue", "--noheader"), 60, "the last job to end")
    finally:
        stop_daemons()
    print("Slurm is down", flush=True)


def status() -> None:
    """Print which daemons run, and what the node does."""
    for daemon in DAEMONS:
        print(f"{daemon:10} {running().get(daemon, 'not running')}")
    if running().keys() == set(DAEMONS):
        print(f"{ask('sinfo')}\n{ask('squeue')}\nexport SLURM_CONF={CONF}")


def environment() -> dict[str, str]:
    """Return the environment of a command that talks to the node."""
    return {**os.environ, "SLURM_CONF": str(CONF), "GRADCLI_SLURM_NODE": "1"}


def install() -> None:
    """Install what is missing of Slurm, without starting any service."""
    if all(map(shutil.which, DAEMONS)):
        return
    if not shutil.which("apt-get"):
        raise NodeError(f"no {', '.join(DAEMONS)} here, and no apt-get to install them with")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    print(f"slurm_node: {' '.join(command)}", flush=True)
    with services_kept_down():
        subprocess.run(command, check=True)


@contextmanager
def services_kept_down() -> Iterator[None]:
    """Keep installed packages from starting their services, as Debian's policy script may."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def write_files() -> None:
    """Write the node's folder anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for folder in (FOLDER, FOLDER / "state", FOLDER / "spool"):
        folder.mkdir(mode=0o755)
    CONF.write_text(slurm_conf(Machine.here(), FOLDER))
    key = FOLDER / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


def munge_files() -> dict[str, Path]:
    """Return where munged finds its key and keeps the rest, by the name of the option."""
    return {
        "key-file": FOLDER / "munge.key",
        "socket": FOLDER / "munge.socket",
        "pid-file": FOLDER / "munged.pid",
        "log-file": FOLDER / "munged.log",
        "seed-file": FOLDER / "munge.seed",
    }


def start(daemon: str, *options: str) -> None:
    """Start a daemon, which leaves this process and writes its pid file."""
    with (FOLDER / f"{daemon}.out").open("w") as output:
        ended = subprocess.run(
            [daemon, *options],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if ended.returncode:
        raise NodeError(f"{daemon} did not start:\n{last_words(daemon)}")
    wait_until(lambda: daemon in running(), 30, f"{daemon} to start")


def stop_daemons() -> None:
    """Stop the daemons that run, the first one last."""
    for daemon in reversed(DAEMONS):
        if daemon in running():
            os.kill(running()[daemon], signal.SIGTERM)
            wait_until(lambda gone=daemon: gone not in running(), 30, f"{daemon} to stop")


def running() -> dict[str, int]:
    """Return the process of each daemon that runs."""
    found = {}
    for daemon in DAEMONS:
        try:
            process = int((FOLDER / f"{daemon}.pid").read_text())
            if Path(f"/proc/{process}/comm").read_text().strip() == daemon:
                found[daemon] = process
        except (FileNotFoundError, ProcessLookupError, ValueError):
            continue  # never started, gone, or about to write its number
    return found


def ask(*command: str) -> str:
    """Return what one of Slurm's commands prints."""
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if ended.returncode:
        raise NodeError(f"{' '.join(command)}: {ended.stderr.strip()}")
    return ended.stdout.strip()


def wait_until(happened: Callable[[], bool], seconds: int, what: str) -> None:
    """Wait for something to happen."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            logs = "\n".join(map(last_words, DAEMONS))
            raise NodeError(f"waited {seconds} s in vain for {what}:\n{logs}")
        time.sleep(0.2)


def last_words(daemon: str) -> str:
    """Return the end of what a daemon wrote."""
    lines = []
    for path in (FOLDER / f"{daemon}.out", FOLDER / f"{daemon}.log"):
        lines += path.read_text().splitlines()[-15:] if path.exists() else []
    return "\n".join(f"{daemon}: {line}" for line in lines)
