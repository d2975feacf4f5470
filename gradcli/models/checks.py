"""The range checks that the models' arguments share. Types are checked by the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.errors import UserError, nearest


def require_positive(key: str, *sizes: int) -> None:
    """Raise a `UserError` that names the key if a size is below 1."""
    for size in sizes:
        if size < 1:
            raise UserError(f"a size must be at least 1, not {size}", where=key)


def require_dropout(dropout: float) -> None:
    """Raise a `UserError` unless the probability is from 0 to below 1."""
    if not 0.0 <= dropout < 1.0:
        raise UserError(
            f"dropout must be a probability from 0 to below 1, not {dropout}",
            where="model.dropout",
        )


def require_choice(key: str, value: str, choices: Sequence[str]) -> None:
    """Raise a `UserError` with the nearest choices unless the value is one of them."""
    if value not in choices:
        raise UserError(
            f"{value!r} is not one of {', '.join(choices)}",
            where=key,
            choices=nearest(value, choices),
        )


def require_image(model: str, input_shape: Sequence[int], *, or_signal: bool = False) -> None:
    """Raise a `UserError` unless an example is an image (channels, height, width).

    Args:
        model: what it is called in the error.
        input_shape: of an example.
        or_signal: whether it may be a signal (channels, length), too.
    """
    if len(input_shape) != 3 and not (or_signal and len(input_shape) == 2):
        or_signals = ", or signals of shape (channels, length)" * or_signal
        raise UserError(
            f"{model} reads images of shape (channels, height, width){or_signals}; an example of "
            f"this data set has the shape {tuple(input_shape)}",
            where="model",
            hint="model=cnn, which reads signals too; or model=mlp"
            if len(input_shape) == 2
            else "model=mlp; or model=charlm if it is a text",
        )
