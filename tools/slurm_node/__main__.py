"""A real Slurm cluster of one node on this machine, without systemd, to try things on.

    python tools/slurm_node up                up, and prints the SLURM_CONF that leads to it
    python tools/slurm_node status            its nodes and jobs
    python tools/slurm_node down              all jobs cancelled, and all daemons stopped
    python tools/slurm_node run COMMAND ...   up, the command, and down whatever became of it

Needs root, and Debian or Ubuntu: `up` installs the packages slurm-wlm and munge with apt-get where
they are missing, and `down` leaves them installed. All else lies in /run/slurm-node. A Slurm that
the machine has of its own is left alone.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import node


def main() -> None:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("up", "status", "down", "run"))
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    if bool(arguments.command) != (arguments.action == "run"):
        parser.error("`run`, and only `run`, takes a command")
    if os.geteuid() != 0:
        sys.exit("slurm_node: only root can start Slurm's daemons here: try again with sudo")
    try:
        if arguments.action == "run":
            sys.exit(run(arguments.command))
        {"up": node.up, "status": node.status, "down": node.down}[arguments.action]()
    except node.NodeError as error:
        sys.exit(f"slurm_node: {error}")


def run(command: list[str]) -> int:
    """Return the exit code of a command that ran while the node was up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of `down`
    node.up()
    try:
        return subprocess.run(command, env=node.environment()).returncode
    finally:
        node.down()


if __name__ == "__main__":
    main()
