"""Which plain values fit the type in a signature."""

from collections.abc import Sequence
from typing import Any, Literal, Optional, Union

import pytest
import torch

from gradcli.config.targets import accepts

VALUES = (None, True, 0, 1.5, "a", [], [1], [1, 2], [1.5, 2], ["a"], {"a": 1})

#: Which of `VALUES` an annotation accepts.
TABLE = [
    (int, [0]),
    (float, [0, 1.5]),
    (bool, [True]),
    (str, ["a"]),
    (None, [None]),
    (int | None, [None, 0]),
    (Optional[float], [None, 0, 1.5]),  # noqa: UP045 - signatures in the wild have both forms
    (Union[int, str], [0, "a"]),  # noqa: UP007
    (bool | str, [True, "a"]),
    (list, [[], [1], [1, 2], [1.5, 2], ["a"]]),
    (tuple, [[], [1], [1, 2], [1.5, 2], ["a"]]),
    (list[int], [[], [1], [1, 2]]),
    (Sequence[int], [[], [1], [1, 2]]),
    (Sequence[float], [[], [1], [1, 2], [1.5, 2]]),
    (Sequence[str], [[], ["a"]]),
    (tuple[int, ...], [[], [1], [1, 2]]),
    (tuple[float, float], [[1, 2], [1.5, 2]]),
    (tuple[int, int], [[1, 2]]),
    (int | tuple[int, int], [0, [1, 2]]),
    (Literal["a", "b"], ["a"]),
    (dict[str, int], [{"a": 1}]),
    (torch.Tensor, []),
    (float | torch.Tensor, [0, 1.5]),
    (tuple[float | torch.Tensor, float | torch.Tensor], [[1, 2], [1.5, 2]]),
    (Any, VALUES),
]


@pytest.mark.parametrize(("annotation", "accepted"), TABLE, ids=lambda value: str(value)[:40])
def test_an_annotation_accepts_exactly_what_fits_it(annotation, accepted):
    found = [value for value in VALUES if accepts(annotation, value)]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in accepted]


def test_a_tuple_is_as_good_as_a_list():
    assert accepts(tuple[float, float], (0.9, 0.999))
    assert not accepts(tuple[float, float], (0.9,))
