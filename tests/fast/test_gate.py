"""The gate of `fast`: proven releases, the switch, and no private PyTorch in another room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import torch

import gradcli
from gradcli.fast import gate
from gradcli.fast.foreach_norm import norm_of_each

PACKAGE = Path(gradcli.__file__).parent


def test_the_installed_release_has_been_judged():
    assert gate.release() in {*gate.PROVEN, *gate.UNPROVEN}, (
        f"PyTorch {gate.release()} is in neither list of gradcli/fast/gate.py: add it to PROVEN, "
        "run `python -m pytest tests/fast`, and if a test fails move it to UNPROVEN"
    )


def test_no_release_is_both_proven_and_not():
    assert not gate.PROVEN & gate.UNPROVEN.keys()
    assert all(gate.UNPROVEN.values()), "each with its reason"


@pytest.mark.parametrize(
    ("version", "switch", "is_open"),
    [
        ("2.13.0", None, True),
        ("2.13.0+cpu", None, True),
        ("2.13.0+cu130", "1", True),
        ("2.13.0", "0", False),
        ("2.13.0", "False", False),
        ("2.13.0", "", True),
        ("2.99.0", None, False),
        ("2.99.0", "1", False),
        ("2.13.0a0+git123", None, False),
    ],
)
def test_who_opens_it(monkeypatch, version, switch, is_open):
    monkeypatch.setattr(torch, "__version__", version)
    if switch is None:
        monkeypatch.delenv(gate.SWITCH, raising=False)
    else:
        monkeypatch.setenv(gate.SWITCH, switch)
    assert gate.is_open() is is_open


@pytest.mark.parametrize(
    ("version", "device_type", "is_open"),
    [
        ("2.13.0", "cuda", True),
        ("2.6.0", "cuda", False),
        ("2.6.0", "cpu", True),
        ("2.6.0", "meta", True),
        ("2.13.0", "mps", False),
    ],
)
def test_each_type_of_device_is_proven_separately(monkeypatch, version, device_type, is_open):
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.delenv(gate.SWITCH, raising=False)
    assert gate.is_open(device_type) is is_open
    assert gate.PROVEN_ON_CUDA <= gate.PROVEN


@pytest.mark.parametrize("dtype", [None, torch.float64])
@pytest.mark.parametrize("order", [1, 2, float("inf")])
def test_norms_are_the_same_with_and_without_the_shortcut(monkeypatch, order, dtype):
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator) for size in (1, 7, 300, 1 << 17)]
    monkeypatch.setenv(gate.SWITCH, "0")
    plain = norm_of_each("cpu")(tensors, order, dtype)
    monkeypatch.delenv(gate.SWITCH)
    for one, other in zip(norm_of_each("cpu")(tensors, order, dtype), plain, strict=True):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype


def private_names(source: str) -> list[str]:
    """The private names of torch that a module uses: `torch._x`, `torch.x._y`, `from torch._x`."""
    dotted = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            dotted.append(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            dotted.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            dotted.extend(alias.name for alias in node.names)
    return [name for name in dotted if re.fullmatch(r"torch(\.\w+)*\._(?!_)[\w.]+", name)]


def test_no_other_room_uses_private_names_of_torch():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "fast" and (names := private_names(path.read_text()))
    }
    assert found == {}
    assert private_names("import torch\ntorch._foreach_norm([])") == ["torch._foreach_norm"]
    assert private_names("from torch import _compile") == ["torch._compile"]
