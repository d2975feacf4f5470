"""What starts at once must stay light: the heavy libraries load where they are needed."""

import re

import pytest

HEAVY = {"torch", "hydra", "omegaconf", "matplotlib", "scipy", "numpy", "torchvision"}


def imported(importtime):
    """The top packages that `-X importtime` reports."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", importtime, re.MULTILINE)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["-c", "import gradcli; gradcli.__version__; gradcli.UserError"], set()),
        (["-m", "gradcli", "--help"], set()),
        (["-m", "gradcli", "--version"], set()),
        (["-m", "gradcli", "train", "--help"], set()),
        (["-m", "gradcli", "runs", "list"], {"numpy"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_starts_light(words, allowed, spawn, tmp_path):
    answer = spawn("-X", "importtime", *words, GRADCLI_RUNS=str(tmp_path))
    assert answer.code == 0, answer.err
    assert "gradcli" in imported(answer.err)
    assert imported(answer.err) & HEAVY <= allowed


def test_a_heavy_import_would_be_seen(spawn):
    answer = spawn("-X", "importtime", "-c", "import gradcli.records")
    assert "numpy" in imported(answer.err)


def test_what_the_package_offers_is_there():
    import gradcli

    assert all(getattr(gradcli, name).__name__ == name for name in gradcli.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = gradcli.nothing_of_ours
