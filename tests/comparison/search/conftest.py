"""Ranges of each scale."""

import pytest

from gradcli.comparison.search import Range


@pytest.fixture
def ranges():
    return (
        Range("lr", 1e-4, 1e-1),
        Range("momentum", 0.5, 0.999, "log_from_one"),
        Range("mix", -1.0, 1.0, "linear"),
    )
