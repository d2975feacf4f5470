"""What the graph that autograd has recorded tells of a loss: its operations, and its ways."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

# Where the layers' marks are kept: a node has a dictionary for whoever wants to note something.
_MARK = "gradcli.layers"
_OUTPUT = "gradcli.output"
_CALLS = "gradcli.calls"
# Operations that change the shape or the type of values, not the values.
_VIEWS = frozenset(
    {
        *("View", "UnsafeView", "ReshapeAlias", "Alias", "AsStrided", "Expand", "Permute"),
        *("Unsqueeze", "Squeeze", "Transpose", "T", "Mt", "Select", "Slice", "Split", "Unbind"),
        *("ToCopy", "Clone", "Contiguous", "Copy", "Narrow", "Flatten"),
    }
)
_PRODUCTS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Mv", "Dot")
# What compares outputs with targets element by element.
_COMPARISONS = ("MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNllLoss", "Sub", "Rsub")
_NOT_THE_USERS = ("torch.", "gradcli.")
_LONGEST_PATH = 32
_LARGEST_GRAPH = 20_000  # a tenth of a second, or less
# Numbers of ways grow exponentially with depth; they are counted modulo this prime.
_PRIME = 2**61 - 1


def mark(node: Any, layer: int) -> None:
    """Note at a node of the graph (None for none) that a layer returned its result."""
    if node is not None:
        node.metadata.setdefault(_MARK, set()).add(layer)


def mark_call(node: Any, call: tuple[int, int, int]) -> None:
    """Note at a node of the graph (None for none) which call returned its result.

    Args:
        node: the result's `grad_fn`.
        call: the number of the forward pass, the layer, and the number of its call.
    """
    if node is not None:
        node.metadata.setdefault(_CALLS, set()).add(call)


def calls_reached(node: Any, forward_pass: int) -> Counter[int]:
    """Count the calls of each layer in a forward pass that lie on a way from the loss.

    Args:
        node: the loss's `grad_fn`; None if it has none.
        forward_pass: its number.
    """
    nodes = _from_loss_to_leaves(node) or ()
    calls = {call for one in nodes for call in one.metadata.get(_CALLS, ())}
    return Counter(layer for number, layer, _ in calls if number == forward_pass)


def mark_output(node: Any) -> None:
    """Note at a node of the graph (None for none) that it made the model's output."""
    if node is not None:
        node.metadata[_OUTPUT] = True


def loss_path(node: Any) -> tuple[tuple[str, ...], int]:
    """Return the operations from a loss backwards, while there is only one way, without views.

    Args:
        node: the loss's `grad_fn`; None if it has none.

    Returns:
        The operations, and how many of them come before the model's output; -1 if it is not among
        them.
    """
    names: list[str] = []
    output_at = -1
    while node is not None and len(names) < _LONGEST_PATH:
        if output_at < 0 and node.metadata.get(_OUTPUT):
            output_at = len(names)
        name = re.sub(r"Backwards?\d*$", "", node.name())
        if name not in _VIEWS:
            names.append(name)
        ways = [one for one, _ in node.next_functions if one is not None and not _is_leaf(one)]
        node = ways[0] if len(ways) == 1 else None
    return tuple(names), output_at


def broadcast_to(node: Any) -> tuple[int, ...]:
    """Return the shape that a loss brings the model's output to by pairing rows and targets.

    An output of shape (n, 1) minus targets of shape (n,) is of shape (n, n): each row is compared
    with every target. The way is followed from the loss to the output while there is only one.

    Args:
        node: the loss's `grad_fn`; None if it has none.

    Returns:
        (n, n); empty if the shapes agree, or the output is not on the way.
    """
    behind: list[tuple[int, ...]] = []
    compared = False
    while node is not None and len(behind) < _LONGEST_PATH:
        shape = _shape_of_result(node)
        if node.metadata.get(_OUTPUT):
            rows = shape[0] if shape else 0
            has_one_column = rows > 1 and math.prod(shape) == rows
            found = compared and has_one_column and (rows, rows) in behind
            return (rows, rows) if found else ()
        if node.name().startswith(_PRODUCTS):
            return ()
        compared |= node.name().startswith(_COMPARISONS)
        behind.append(shape)
        ways = [one for one, _ in node.next_functions if one is not None and not _is_leaf(one)]
        node = ways[0] if len(ways) == 1 else None
    return ()


def _shape_of_result(node: Any) -> tuple[int, ...]:
    """Return the shape of what the operation of a node returned; empty if that is not known."""
    known = getattr(node, "_input_metadata", None)
    return tuple(known[0].shape) if known else ()


def is_single_path(node: Any, order: Sequence[int]) -> bool | None:
    """Whether each way from a loss to the first marked layer passes all other layers' marks.

    A layer is on every way if the ways through it are as many as there are ways. Layers that no
    gradient flows to, such as frozen ones at the beginning, are left out.

    Args:
        node: the loss's `grad_fn`.
        order: the layers, as they were called.

    Returns:
        None if no layer is marked, or the graph is too large.
    """
    nodes = _from_loss_to_leaves(node)
    if nodes is None:
        return None
    marked: dict[int, list[Any]] = {}
    for one in nodes:
        for layer in one.metadata.get(_MARK, ()):
            marked.setdefault(layer, []).append(one)
    layers = [layer for layer in order if layer in marked]
    if not layers:
        return None
    first = set(marked[layers[0]])
    down = dict.fromkeys(nodes, 0)
    down[node] = 1
    for one in nodes:
        for following in _following(one):
            down[following] = (down[following] + down[one]) % _PRIME
    up: dict[Any, int] = {}
    for one in reversed(nodes):
        ways = sum(up[following] for following in _following(one))
        up[one] = (ways + (one in first)) % _PRIME
    total = up[node]
    return all(_is_on_every_way(marked[layer], down, up, total) for layer in layers)


def own_functions(node: Any) -> tuple[tuple[str, int], ...]:
    """Return the `torch.autograd.Function`s of the user's on the way from a loss to the leaves.

    Their backward passes are written by hand, so they may be wrong; PyTorch's own are left out.

    Args:
        node: the loss's `grad_fn`.

    Returns:
        The name of each, and a layer whose result it works on; -1 if there is none.
    """
    found: dict[tuple[str, int], None] = {}
    for one in _from_loss_to_leaves(node) or ():
        function = getattr(type(one), "_forward_cls", None)
        if function is not None and not function.__module__.startswith(_NOT_THE_USERS):
            found[function.__name__, _nearest_layer(one)] = None
    return tuple(found)


def _nearest_layer(node: Any) -> int:
    """Return the first marked layer that a search in breadth from a node meets; -1 for none."""
    waiting, seen = [node], {node}
    for one in waiting:
        marks = one.metadata.get(_MARK)
        if marks:
            return int(min(marks))
        following = [other for other in _following(one) if other not in seen]
        seen.update(following)
        waiting += following
    return -1


def _is_on_every_way(
    marked: Sequence[Any], down: dict[Any, int], up: dict[Any, int], total: int
) -> bool:
    """Whether all ways pass one of a layer's nodes, or each passes exactly one of them."""
    through = [down[node] * up[node] % _PRIME for node in marked]
    return total in through or sum(through) % _PRIME == total


def _from_loss_to_leaves(root: Any) -> list[Any] | None:
    """Return the nodes of a graph, each before those that it leads to; None if there are many."""
    if root is None:
        return None
    finished: list[Any] = []
    begun: set[Any] = set()
    waiting = [(root, False)]
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            finished.append(node)
        elif node not in begun:
            begun.add(node)
            waiting.append((node, True))
            waiting += [(following, False) for following in _following(node)]
            if len(begun) > _LARGEST_GRAPH:
                return None
    return finished[::-1]


def _following(node: Any) -> list[Any]:
    return [one for one, _ in node.next_functions if one is not None]


def _is_leaf(node: Any) -> bool:
    return bool(node.name().endswith("AccumulateGrad"))
