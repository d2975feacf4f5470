"""From `engine.address` to a connection to Ray: a cluster that runs, or one on this machine."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import warnings
from pathlib import Path
from typing import Any

from gradcli.engines.ray_cluster.shipped_code import copy_gradcli
from gradcli.errors import UserError, exception_in_words
from gradcli.extras.missing import not_installed

_WHERE = "engine.address"
_ADDRESS = "RAY_ADDRESS"
_SECONDS_TO_ANSWER = 5.0
#: For the files of trials on their way, of which there are none on a single machine.
_OBJECT_STORE_BYTES = 200_000_000
#: Ray's notes to the user, which has not asked for them.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
#: How a client of HTTP/2 greets, and the type of the frame with which every server answers.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS_FRAME = 4


def join(address: str | None) -> Any:
    """Connect this process to Ray, and return the module.

    Args:
        address: `auto`, that of a cluster, or None for a new one on this machine.

    Raises:
        UserError: if Ray is not installed, no cluster answers at the address, or it refuses.
    """
    os.environ.update(_QUIET)
    ray = _imported()
    found = _running() if address == "auto" else address
    if address == "auto" and not os.environ.get(_ADDRESS) and found and not _answers(found):
        found = None  # it was killed, and has left its address behind
    if found is not None and not _answers(found):
        raise UserError(
            f"No Ray cluster answers at {found}.",
            where=_WHERE if address != "auto" else _ADDRESS,
            hint="ray start --head, which prints the address; or engine.address=null, for a "
            "cluster on this machine",
        )
    own: dict[str, Any] = {"object_store_memory": _OBJECT_STORE_BYTES} if found is None else {}
    folder = Path(tempfile.mkdtemp(prefix="gradcli-"))
    try:
        ray.init(
            # With `auto` Ray also finds the token of a cluster that was started on this machine.
            address=address if found else "local",
            runtime_env={"py_modules": [str(copy_gradcli(folder))]},
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            **own,
        )
    except (Exception, SystemExit) as error:  # Ray sends its own process a signal, too
        raise _refused(found, error) from error
    finally:
        shutil.rmtree(folder)
    return ray


def _refused(address: str | None, error: BaseException) -> UserError:
    """Return the error of a cluster that could not be joined, or started, with the first cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    what = f"The Ray cluster at {address} cannot be joined" if address else "Ray does not start"
    hint = "engine.address=null, for a cluster of its own on this machine" if address else None
    # Ray appends the traceback of its last try.
    first_line = exception_in_words(error).partition(" Last connection error")[0].splitlines()[0]
    return UserError(
        f"{what}: {first_line}",
        where=_WHERE,
        hint="export RAY_AUTH_MODE=token" if "AuthToken" in str(error) else hint,
    )


def _imported() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise not_installed("Ray", "ray", error, what="engine=ray", where="engine") from error
    return ray


def _running() -> str | None:
    """Return the address of a running cluster as Ray's own tools find it; None if there is none."""
    if named := os.environ.get(_ADDRESS):
        return named
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    try:
        return (folder / "ray" / "ray_current_cluster").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _answers(address: str) -> bool:
    """Whether a server of gRPC answers at an address. Ray itself tries for two minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        raise UserError(
            f"'{address}' is not the address of a Ray cluster.",
            where=_WHERE,
            hint="engine.address=HOST:6379, or engine.address=auto",
        )
    encrypted = os.environ.get("RAY_USE_TLS", "0") not in ("", "0")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER) as server:
            if encrypted:
                return True
            server.settimeout(_SECONDS_TO_ANSWER)
            server.sendall(_GREETING)
            frame = server.recv(9)
    except (OSError, OverflowError):
        return False
    return len(frame) > 3 and frame[3] == _SETTINGS_FRAME
