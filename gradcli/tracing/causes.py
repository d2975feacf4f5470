"""Why an operation made a value that is not finite, in words, from its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_OUTSIDE = {
    "acos": "-1 to 1",
    "asin": "-1 to 1",
    "atanh": "-1 to 1",
    "erfinv": "-1 to 1",
    "logit": "0 to 1",
    "acosh": "1 to infinity",
}
#: Operations with an `eps`, and the place of it among their arguments.
_NORMS = {
    "native_layer_norm": 4,
    "native_group_norm": 7,
    "native_batch_norm": 7,
    "_native_batch_norm_legit": 7,
    "cudnn_batch_norm": 7,
    "_fused_rms_norm": 3,
    "_batch_norm_with_update": 6,
}
_PRODUCTS = ("addmm", "mm", "bmm", "baddbmm", "mv", "dot", "convolution", "_convolution", "linear")
_SOFTMAX = ("_softmax", "_log_softmax", "_safe_softmax", "logsumexp")
_SLOPES = {
    "Sqrt": "the slope of the square root is infinite at 0",
    "Rsqrt": "the slope of 1 / sqrt(x) is infinite at 0",
    "Log": "the slope of the logarithm is infinite at 0",
    "Log2": "the slope of the logarithm is infinite at 0",
    "Log10": "the slope of the logarithm is infinite at 0",
    "Log1P": "the slope of log(1 + x) is infinite at -1",
    "Div": "the derivative of a quotient divides by its denominator, which is 0",
    "Reciprocal": "the slope of 1 / x is infinite at 0",
    "Pow": "the slope of a power below 1 is infinite at 0",
    "Acos": "the slope of acos is infinite at -1 and 1",
    "Asin": "the slope of asin is infinite at -1 and 1",
    "Atanh": "the slope of atanh is infinite at -1 and 1",
    "Acosh": "the slope of acosh is infinite at 1",
    "Atan2": "the derivative of atan2 does not exist at (0, 0)",
    "Logit": "the slope of logit is infinite at 0 and 1",
}


def cause(operation: str, arguments: Sequence[Any], result: Tensor) -> str:
    """Say why `operation` made non-finite values; empty if its inputs do not show it.

    Args:
        operation: its name, such as `log`.
        arguments: as they were before it.
        result: the tensor that is not finite.
    """
    values = [one for one in arguments if isinstance(one, Tensor) and one.is_floating_point()]
    infinite = [one for one in arguments if isinstance(one, float) and not math.isfinite(one)]
    if infinite:
        return f"the constant {infinite[0]} in it"
    if not all(map(_is_finite, values)):
        if "scaled_dot_product" in operation:
            return "attention with every key masked"
        if operation in _SOFTMAX:
            return "a softmax over values that are all -inf: everything is masked"
        return "an infinity minus another, times 0, or divided by another"
    position = _NORMS.get(operation, len(arguments))
    if position < len(arguments) and arguments[position] == 0:
        return "eps is 0, and there are inputs without variance: 0 / 0"
    if "batch_norm" in operation and (low := _lowest_variance(arguments)) < 0:
        return f"a negative running variance ({low:.3g})"
    if operation in ("mean", "std", "var", "var_mean", "std_mean") and values:
        return _of_too_few(operation, values[0], result)
    rule = _RULES.get(operation)
    if rule is not None and values:
        return rule(arguments, result) or _overflow(values, result)
    if operation in _OUTSIDE and values:
        return f"{operation} of a number outside {_OUTSIDE[operation]}"
    if operation in _PRODUCTS and all(map(_is_finite, values)):
        return _too_large(values, result)  # infinity minus infinity within the sum may be NaN
    return _overflow(values, result)


def _lowest_variance(arguments: Sequence[Any]) -> float:
    """Return the smallest running variance that a batch norm is given; 0 if it is given none."""
    given = arguments[4] if len(arguments) > 4 else None
    return float(given.min()) if isinstance(given, Tensor) and given.numel() else 0.0


def slope_cause(node: str) -> str:
    """Say why the derivative that autograd calls `node` may be non-finite, if it is known."""
    return _SLOPES.get(node.rstrip("0123456789").removesuffix("Backward"), "")


def is_fully_masked(operation: str, arguments: Sequence[Any]) -> bool:
    """Whether it is a softmax over nothing but -inf, or attention with every key masked."""
    if "scaled_dot_product" in operation:
        return True
    if operation not in _SOFTMAX or not isinstance(arguments[0], Tensor):
        return False
    dimension = arguments[1] if len(arguments) > 1 else -1
    rows = arguments[0] == -math.inf
    for one in dimension if isinstance(dimension, list | tuple) else [dimension]:
        rows = rows.all(dim=one, keepdim=True)
    return bool(rows.any())


def _of_too_few(operation: str, values: Tensor, result: Tensor) -> str:
    name = {"mean": "mean", "std": "standard deviation", "var": "variance"}[
        operation[:4].strip("_")
    ]
    if not values.numel():
        return f"the {name} of no values at all"
    if operation != "mean" and values.numel() == result.numel():
        return f"the {name} of a single value"
    return _overflow([values], result)


def _logarithm(arguments: Sequence[Any], result: Tensor) -> str:
    low = float(arguments[0].min())
    if low < 0 and bool(result.isnan().any()):
        return f"the logarithm of a negative number ({low:.3g})"
    return "the logarithm of 0"


def _logarithm_of_more(arguments: Sequence[Any], result: Tensor) -> str:
    return f"log(1 + x) with x = {float(arguments[0].min()):.3g}"


def _root(arguments: Sequence[Any], result: Tensor) -> str:
    return f"the square root of a negative number ({float(arguments[0].min()):.3g})"


def _one_by_root(arguments: Sequence[Any], result: Tensor) -> str:
    return _root(arguments, result) if bool((arguments[0] < 0).any()) else "1 / sqrt(0)"


def _quotient(arguments: Sequence[Any], result: Tensor) -> str:
    top, bottom = torch.as_tensor(arguments[0]), torch.as_tensor(arguments[1])
    zero = bottom == 0
    if not bool(zero.any()):
        return ""
    return "0 / 0" if bool(result.isnan().any() & (top == 0).any()) else "a division by 0"


def _inverse(arguments: Sequence[Any], result: Tensor) -> str:
    return "1 / 0" if bool((arguments[0] == 0).any()) else ""


def _exponential(name: str) -> Callable[[Sequence[Any], Tensor], str]:
    def words(arguments: Sequence[Any], result: Tensor) -> str:
        largest = float(arguments[0].max())
        return f"{name}({largest:.3g}) is too large for {_type(result)}"

    return words


def _power(arguments: Sequence[Any], result: Tensor) -> str:
    base, exponent = torch.as_tensor(arguments[0]), torch.as_tensor(arguments[1])
    if bool((base < 0).any()) and bool((exponent != exponent.round()).any()):
        return f"a power that is not whole of a negative number ({float(base.min()):.3g})"
    if bool((base == 0).any()) and bool((exponent < 0).any()):
        return "a negative power of 0"
    return ""


def _conversion(arguments: Sequence[Any], result: Tensor) -> str:
    largest = float(arguments[0].abs().max())
    return f"{largest:.3g} is too large for {_type(result)}"


_RULES: dict[str, Callable[[Sequence[Any], Tensor], str]] = {
    "log": _logarithm,
    "log2": _logarithm,
    "log10": _logarithm,
    "log1p": _logarithm_of_more,
    "sqrt": _root,
    "rsqrt": _one_by_root,
    "div": _quotient,
    "true_divide": _quotient,
    "floor_divide": _quotient,
    "fmod": _quotient,
    "remainder": _quotient,
    "reciprocal": _inverse,
    "exp": _exponential("exp"),
    "exp2": _exponential("exp2"),
    "expm1": _exponential("expm1"),
    "sinh": _exponential("sinh"),
    "cosh": _exponential("cosh"),
    "pow": _power,
    "_to_copy": _conversion,
    "copy": _conversion,
}


def _overflow(values: Sequence[Tensor], result: Tensor) -> str:
    """Say that the result is too large, if all inputs are finite and it is infinite."""
    known = [one for one in values if one.numel()]
    if not known or bool(result.isnan().all()) or not all(map(_is_finite, known)):
        return ""
    return _too_large(known, result)


def _too_large(values: Sequence[Tensor], result: Tensor) -> str:
    largest = max((float(one.abs().max()) for one in values if one.numel()), default=0.0)
    return f"an overflow of {_type(result)}, from inputs of up to {largest:.3g}"


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _type(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
