"""The screen of one step: the examples of its batch that made the gradient, and how they look."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.inspection.one_step.step_inspection import StepExample, StepInspection
from gradcli.notation import numbers
from gradcli.views.inspect.step_sentences import (
    KIND_WORDS,
    kinds_sentence,
    replay_sentence,
    standing_sentence,
    verdict_sentence,
    without_sentence,
)
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import (
    STRONG,
    TITLE,
    Column,
    Lines,
    fitting,
    shorten,
    table,
    total_width,
)
from gradcli.views.words import Text

_WIDEST_CONTENT, _WIDEST_NAME, _WIDEST_FILE = 44, 14, 28
_KIND_STYLES = {"not-sure": TITLE, "hard": ""}
_STANDING_STYLES = {"spike": "bold red", "high": "bold yellow", "usual": "bold green"}


def step_screen(inspection: StepInspection, *, is_drawn: bool = False) -> RenderableType:
    """Draw what was found of a step.

    Args:
        inspection: what was found.
        is_drawn: whether its picture is drawn as well, which then needs no command.
    """
    return _StepScreen(inspection, is_drawn)


class _StepScreen:
    def __init__(self, inspection: StepInspection, is_drawn: bool) -> None:
        self._inspection, self._is_drawn = inspection, is_drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        one = self._inspection
        style = _STANDING_STYLES.get(one.neighbours.standing, STRONG)
        yield Text.assemble((f"step {numbers.count(one.step)}", style), "  ", (one.target, STRONG))
        yield Text(_setting(one), TITLE)
        yield ""
        yield Labelled("step", Text(standing_sentence(one.step, one.neighbours)))
        yield Labelled("verdict", Text(_verdict(one), STRONG))
        yield Labelled(
            "replay", Text(replay_sentence(one), "" if one.replay.is_exact else "yellow")
        )
        if one.measured:
            yield Labelled("measured", Text(one.measured))
        for row, note in enumerate(one.notes):
            yield Labelled("" if row else "note", Text(note, "yellow"))
        yield ""
        columns = _columns(one)
        width = options.max_width if options.is_terminal else total_width(columns)
        yield Lines(table(fitting(columns, width), width))
        rest = len(one.examples) - len(one.shown)
        if rest:
            median = numbers.norm(one.median_norm)
            yield Text(
                f"and {numbers.count(rest, 'other')}; the median gradient norm of all "
                f"{numbers.count(len(one.examples))} is {median}",
                TITLE,
            )
        yield ""
        told = [example for example in one.shown if example.suspicion.evidence]
        for example in told:
            yield Labelled(
                _name(example),
                Text(f"{KIND_WORDS[example.suspicion.kind]}: {example.suspicion.evidence}"),
            )
        if told:
            yield ""
        yield from whole_lines("next", commands_after_step(one, is_drawn=self._is_drawn))


def _setting(one: StepInspection) -> str:
    size = numbers.count(len(one.examples), "example")
    return (
        f"{one.model} on {one.data}, epoch {one.epoch}, batch {numbers.count(one.batch_in_epoch)}, "
        f"{size}"
    )


def _verdict(one: StepInspection) -> str:
    said = (verdict_sentence(one), kinds_sentence(one), without_sentence(one))
    return " ".join(filter(None, said))


def _name(example: StepExample) -> str:
    """Name an example: its number in the training split, or its place in the batch of a stream."""
    if example.index is None:
        return f"#{example.place}"
    return numbers.count(example.index)


def _columns(one: StepInspection) -> list[Column]:
    shown = one.shown

    def words(values: Sequence[str], width: int) -> list[str]:
        return [shorten(" ".join(value.split()), width) for value in values]

    columns = [
        Column(
            "in batch" if shown[0].index is None else "example",
            [_name(one) for one in shown],
            0,
            "right",
            STRONG,
        ),
    ]
    if any(one.file for one in shown):
        # The end of a path tells files apart.
        files = [one.file[-_WIDEST_FILE:] for one in shown]
        columns.append(Column("file", files, 0))
    elif any(one.row is not None for one in shown):
        rows = ["" if one.row is None else numbers.count(one.row) for one in shown]
        columns.append(Column("file's row", rows, 0, "right"))
    for title, values, rank in (
        ("label", [one.label for one in shown], 1),
        ("predicted", [one.prediction for one in shown], 4),
    ):
        if any(values):
            columns.append(Column(title, words(values, _WIDEST_NAME), rank))
    if any(not math.isnan(one.probability) for one in shown):
        columns.append(Column("p", [_probability(one.probability) for one in shown], 5, "right"))
    columns += [
        Column("loss", [_finite(one.loss, numbers.score) for one in shown], 2, "right"),
        Column("grad norm", [_finite(one.grad_norm, numbers.norm) for one in shown], 0, "right"),
        Column("of gradient", [_share(one.share) for one in shown], 0, "right"),
        Column(
            "looks",
            [KIND_WORDS[one.suspicion.kind] for one in shown],
            3,
            styles=[_KIND_STYLES.get(one.suspicion.kind, "yellow") for one in shown],
        ),
    ]
    if any(one.content for one in shown):
        title = {"texts": "text", "rows": "furthest from the batch"}.get(
            one.kind_of_data, "example"
        )
        columns.append(Column(title, words([one.content for one in shown], _WIDEST_CONTENT), 6))
    return columns


def _share(value: float) -> str:
    """Write a share, which is negative if an example pulls against the batch."""
    if math.isnan(value):
        return numbers.ABSENT
    # Added to a negative zero, zero takes its sign away.
    return f"{round(value, 3) + 0.0:.1%}"


def _probability(value: float) -> str:
    return numbers.ABSENT if math.isnan(value) else f"{value:.2f}"


def _finite(value: float, write: Callable[[float], str]) -> str:
    """Write a number; one that is not finite as it is, since here it is what matters."""
    return write(value) if math.isfinite(value) else f"{value}"


def commands_after_step(one: StepInspection, *, is_drawn: bool = False) -> list[str]:
    """Return the commands worth typing after this step, the most useful first."""
    target = shlex.split(one.target)
    inspect = ["gradcli", "inspect-gradients", *one.path_arguments, *target]
    commands: list[list[str]] = []
    if not is_drawn:
        commands.append([*inspect, "--step", str(one.step), "--plot"])
    largest = one.neighbours.largest_spike
    if largest is not None and one.neighbours.standing != "spike" and largest != one.step:
        commands.append([*inspect, "--step", str(largest)])
    commands.append(inspect)
    return [shlex.join(command) for command in commands]
