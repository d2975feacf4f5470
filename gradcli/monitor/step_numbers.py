"""The numbers of steps in a training that goes on from an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from gradcli.records import Record

_AnyRecord = TypeVar("_AnyRecord")


def counted_from(start_step: int, record: _AnyRecord) -> _AnyRecord:
    """Return a record with its step, or each of its steps, after the `start_step` made before."""
    if not start_step:
        return record
    numbered: Any = record
    shifted: _AnyRecord = replace(numbered, step=numbered.step + start_step)
    return shifted


def emitting_from(start_step: int, emit: Callable[[Record], None]) -> Callable[[Record], None]:
    """Return what emits records whose steps are counted from `start_step`."""
    if not start_step:
        return emit
    return lambda record: emit(counted_from(start_step, record))
