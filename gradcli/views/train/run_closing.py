"""The closing screen of a run: the result, where the time went, the diagnosis, what next.

Drawn from a `TrainSummary` alone, for terminals and pipes, at the end of a training and
whenever a run is shown again.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.text import Text

from gradcli.records import TrainSummary
from gradcli.views import numbers
from gradcli.views.findings import by_severity, finding_lines, with_override
from gradcli.views.heading import STATUS_STYLES, describe, describe_fault, joined
from gradcli.views.labelled import LABEL_WIDTH, Labelled, whole_lines
from gradcli.views.table import (
    GAP,
    STRONG,
    TITLE,
    Column,
    Line,
    Lines,
    fitting,
    piece,
    table,
)
from gradcli.views.train.training_screen import visible_layers

LONGEST_BAR = 60
MOST_FINDINGS = 2
MOST_LAYERS = 24


def commands_after_run(summary: TrainSummary, arguments: Sequence[str]) -> list[str]:
    """Return the commands worth typing after this run, the most useful first.

    Args:
        summary: of the run.
        arguments: what the user typed after `gradcli train`; the advice is appended to it.
    """
    commands = []
    is_own_loop = not summary.info.total_steps
    if summary.status in ("interrupted", "lost") and not is_own_loop:
        commands.append(["gradcli", "train", "--resume", summary.path])
    commands += [
        ["gradcli", "train", *with_override(arguments, finding.override)]
        for finding in by_severity(summary.findings)[:1]
        if finding.override is not None
    ]
    commands.append(["gradcli", "runs", "show", summary.path])
    return [shlex.join(command) for command in commands]


def closing_screen(
    summary: TrainSummary, commands: Sequence[str], *, layers: bool = True
) -> RenderableType:
    """Draw the closing screen.

    Args:
        summary: of the run.
        commands: what the user may want to type next.
        layers: whether to draw the table of layers; the live screen has already left one.
    """
    return _ClosingScreen(summary, commands, layers)


class _ClosingScreen:
    def __init__(self, summary: TrainSummary, commands: Sequence[str], layers: bool) -> None:
        self._summary = summary
        self._commands = commands
        self._layers = layers

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _headline(self._summary, options.max_width)
        yield ""
        yield from _result(self._summary)
        yield ""
        if self._layers and self._summary.layers:
            yield Lines(_layers(self._summary, options.max_width))
            yield ""
        yield from _time(self._summary, options)
        yield ""
        yield from _diagnosis(self._summary)
        yield ""
        yield from whole_lines("run", [self._summary.path])
        yield from whole_lines("next", self._commands)


def _headline(summary: TrainSummary, width: int) -> Iterator[RenderableType]:
    style = f"bold {STATUS_STYLES[summary.status]}"
    yield Text.assemble((summary.status, style), "  ", (summary.info.run, STRONG))
    yield Text(joined(describe(summary.info), ", ", width), TITLE)
    if summary.info.data.note:
        yield Text(summary.info.data.note)


def _result(summary: TrainSummary) -> Iterator[RenderableType]:
    if summary.fault is not None:
        yield Labelled("fault", Text(describe_fault(summary.fault), "red"))
    if summary.fault is not None and summary.fault.batch:
        batch = " ".join(str(index) for index in summary.fault.batch[:8])
        more = len(summary.fault.batch) - 8
        rest = f" and {numbers.count(more)} more" if more > 0 else ""
        yield Labelled("batch", Text(f"training examples {batch}{rest}"))
    test, validation = numbers.score(summary.test_accuracy), numbers.score(summary.val_accuracy)
    yield Labelled(
        "accuracy", Text.assemble((f"test {test}", STRONG), f", validation {validation}")
    )
    yield Labelled("train loss", Text(numbers.score(summary.train_loss)))
    length = [numbers.count(summary.epochs, "epoch"), numbers.count(summary.steps, "step")]
    if not math.isnan(summary.steps_per_second):
        length.append(f"{numbers.norm(summary.steps_per_second)} steps/s")
    length.append(f"{numbers.share(summary.clipped_fraction)} of steps clipped")
    yield Labelled("length", Text(", ".join(length)))


def _layers(summary: TrainSummary, width: int) -> list[Line]:
    """Lay out the layers' gradient norms over the run; if there are many, evenly spaced ones."""
    shown = visible_layers([None] * len(summary.layers), MOST_LAYERS)
    layers = [summary.layers[index] for index in shown]
    shapes = {layer.name: layer.shape for layer in summary.info.layers}

    def column(
        above: str, title: str, write: Callable[[float], str], values: list[float], rank: int
    ) -> Column:
        return Column(title, [write(value) for value in values], rank, "right", above=above)

    before = [layer.grad_norm_before_clip for layer in layers]
    columns = [
        Column("layer", [layer.name for layer in layers], styles=STRONG),
        Column("shape", [numbers.shape(shapes[layer.name]) for layer in layers], 4),
        column("grad norm", "first", numbers.norm, [norm.first for norm in before], 0),
        column("before clip", "last", numbers.norm, [norm.last for norm in before], 0),
        column("", "largest", numbers.norm, [norm.max for norm in before], 3),
        column("after", "last", numbers.norm, [one.grad_norm_after_clip.last for one in layers], 1),
        column("update", "ratio", numbers.ratio, [layer.update_ratio for layer in layers], 2),
        column("steps", "clipped", numbers.share, [one.clipped_fraction for one in layers], 5),
    ]
    lines = table(fitting(columns, width), width)
    if len(shown) < len(summary.layers):
        hidden = numbers.count(len(summary.layers) - len(shown), "layer")
        lines.append([piece(f"and {hidden} between them", TITLE)])
    return lines


def _time(summary: TrainSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw where the time went, as far as it is known: not in the user's own loop."""
    if any(summary.phases.values()):
        yield from _phases(summary, options)
    else:
        yield Labelled("time", Text(f"{numbers.duration(summary.seconds_total)} in total"))


def _phases(summary: TrainSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw where the time went: one bar, whose parts differ by texture, in the legend's order."""
    textures = "#=-:" if options.ascii_only else "█▓▒░"
    width = min(options.max_width - LABEL_WIDTH, LONGEST_BAR)
    pieces = [piece("time".ljust(LABEL_WIDTH), TITLE)]
    edge = total = 0.0
    for index, share in enumerate(summary.phases.values()):
        total += share
        cells = round(total * width) - round(edge * width)
        edge = total
        pieces.append(piece(textures[index % len(textures)] * cells, "cyan"))
    yield Lines([pieces])
    shares = GAP.join(f"{phase} {part:.0%}" for phase, part in summary.phases.items())
    yield Labelled("", Text(shares))
    yield Labelled(
        "",
        Text(
            f"{numbers.duration(summary.seconds_total)} in total, "
            f"{numbers.duration(summary.seconds_train)} in training steps, "
            f"first step done after {numbers.duration(summary.seconds_first_step)}"
        ),
    )


def _diagnosis(summary: TrainSummary) -> Iterator[RenderableType]:
    findings = by_severity(summary.findings)
    if not findings:
        yield Labelled("diagnosis", Text("nothing to report"))
    for index, finding in enumerate(findings[:MOST_FINDINGS]):
        yield from finding_lines(finding, "diagnosis" if index == 0 else "")
    if len(findings) > MOST_FINDINGS:
        more = numbers.count(len(findings) - MOST_FINDINGS, "more finding")
        yield Labelled("", Text(f"and {more}: gradcli runs show --json {summary.path}", TITLE))
