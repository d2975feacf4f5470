"""The tensors in nested values: found, named, replaced, and looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the floating-point and complex tensors in a nested value, also in dataclasses."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, tuple | list | set):
        for item in value:
            yield from tensors_in(item)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name, None))


def named_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in an argument with the expressions that get them: `batch['images']`."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from named_tensors(item, f"{name}[{index}]")
    else:
        yield from ((name, tensor) for tensor in tensors_in(value))


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a nested value with its tensors changed; what is no plain container stays."""
    if isinstance(value, Tensor):
        return change(value)
    if type(value) is dict:
        return {key: mapped(item, change) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(mapped(item, change) for item in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    return value


def numbers_in(value: Any) -> Iterator[float]:
    """Yield the Python floats in a nested value."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from numbers_in(item)
    elif isinstance(value, dict):
        yield from numbers_in(tuple(value.values()))


def is_plain(tensor: Tensor) -> bool:
    """Whether it has values that can be looked at."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and (tensor.is_floating_point() or tensor.is_complex())
    )


def storage_of(tensor: Tensor) -> int:
    """Return what tensors with the same memory share."""
    key: int = tensor.untyped_storage()._cdata
    return key


def all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether every tensor that exists is finite."""
    return all(
        bool(torch.isfinite(one).all()) for one in tensors if one is not None and is_plain(one)
    )
