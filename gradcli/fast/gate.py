"""Whether the shortcuts of this room may be taken: with which PyTorch, and one switch.

A shortcut calls directly what PyTorch's own methods call after some preparation. It relies on
private details, so each release of PyTorch has to be proven: trained with and without the
shortcuts, every shipped model must end with the same bits. With any other release, PyTorch's own
methods are called. Training and start-up then take longer. The numbers are the same on the CPU; on
a GPU, recorded norms may differ in rounding.

`GRADCLI_FAST=0` in the environment turns every shortcut off, with any release. Use it to see
whether a shortcut is to blame for something. It is read when a model or an optimizer is built.

To admit a release: add it to `PROVEN` and run `python -m pytest tests/fast` with it. If a test
fails, move it to `UNPROVEN`, with the reason.
"""

from __future__ import annotations

import os

import torch

#: The variable that turns the shortcuts off if it is `0` (or `false`, `no`, `off`).
SWITCH = "GRADCLI_FAST"
_OFF = ("0", "false", "no", "off")

#: Releases with which the tests have passed on the CPU: the same bits for every shipped model, and
#: the same updates by every optimizer. (All tests of this room with 2.6.0, 2.13.0, 2.14.1, 2.15.0.)
PROVEN = frozenset(
    {
        *("2.6.0", "2.7.1", "2.8.0", "2.9.1", "2.10.0"),
        *("2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0"),
    }
)

#: Releases with which they have passed on a CUDA device.
PROVEN_ON_CUDA = frozenset({"2.13.0"})

#: Releases that failed or were not tried, and why. They use PyTorch's own methods.
UNPROVEN: dict[str, str] = {}


def is_open(device_type: str = "cpu") -> bool:
    """Whether the shortcuts may be taken in this process, as its environment is now.

    Args:
        device_type: of the tensors; `meta` tensors, which have no values, count as the CPU's.
    """
    proven = {"cpu": PROVEN, "meta": PROVEN, "cuda": PROVEN_ON_CUDA}.get(device_type, frozenset())
    return os.environ.get(SWITCH, "").strip().lower() not in _OFF and release() in proven


def release() -> str:
    """Return the release of PyTorch without its build, such as `2.13.0` of `2.13.0+cpu`."""
    return torch.__version__.split("+")[0]
