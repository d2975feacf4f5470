"""The closing screen of a run: its result, where the time went, the diagnosis, what to do next.

Drawn from a `TrainSummary` alone, for a terminal and for a pipe, at the end of a training and by
`gradcli runs show`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.notation import numbers
from gradcli.records import ClipOutlook, MetricScores, TrainSummary
from gradcli.system.paths import Paths
from gradcli.views.findings import SEVERITY_STYLES, by_severity, finding_lines, with_override
from gradcli.views.heading import LONGEST_GROUP, STATUS_STYLES, describe, describe_fault, joined
from gradcli.views.labelled import LABEL_WIDTH, Labelled, labelled_lines, labels_lines, whole_lines
from gradcli.views.table import (
    GAP,
    STRONG,
    TITLE,
    Column,
    Line,
    Lines,
    fitting,
    piece,
    shorten_list,
    table,
    total_width,
)
from gradcli.views.train.training_screen import visible_layers
from gradcli.views.words import Text

LONGEST_BAR = 60
MOST_FINDINGS = 2
MOST_LAYERS = 24
TEXTURES = "█▓▒░▚·"
"""The textures of a step's phases in the time bar, in order: distinct even without colour."""


def commands_after_run(
    summary: TrainSummary, overrides: Sequence[str] | None, paths: Paths
) -> list[str]:
    """Return the commands worth typing after this run, the most useful first.

    A run of the user's own loop can be neither resumed nor repeated, so only shown.

    Args:
        summary: of the run.
        overrides: those that the run was begun with; the advice follows them. None if they are
            not recorded, as for a trial of a comparison.
        paths: the places that a command needs to build the run again.
    """
    commands = []
    can_train = not summary.info.is_own_loop
    if can_train and summary.status in ("interrupted", "lost"):
        options = paths.arguments(runs=False)  # the path of the run says the rest
        commands.append(["gradcli", "train", *options, "--resume", summary.path])
    if can_train and overrides is not None:
        commands += [
            [
                "gradcli",
                "train",
                *paths.arguments(beside=overrides),
                *with_override(overrides, finding.override),
            ]
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
        if self._summary.groups:
            yield Lines(_groups(self._summary, options.max_width))
            yield ""
        yield from _time(self._summary, options)
        yield ""
        yield from _diagnosis(self._summary)
        yield ""
        yield from whole_lines("run", [self._summary.path])
        yield from labels_lines(self._summary.tags, self._summary.note)
        yield from whole_lines("next", self._commands)


def _headline(summary: TrainSummary, width: int) -> Iterator[RenderableType]:
    style = f"bold {STATUS_STYLES[summary.status]}"
    yield Text.assemble((summary.status, style), "  ", (summary.info.run, STRONG))
    yield Text(joined(describe(summary.info), ", ", width), TITLE)
    if summary.info.data.note:
        yield Text(summary.info.data.note)
    for note in summary.notes:
        yield Text(note, SEVERITY_STYLES["warning"])


def _result(summary: TrainSummary) -> Iterator[RenderableType]:
    if summary.fault is not None:
        yield Labelled("fault", Text(describe_fault(summary.fault), "red"))
    if summary.fault is not None and summary.fault.batch:
        batch = " ".join(str(index) for index in summary.fault.batch[:8])
        more = len(summary.fault.batch) - 8
        rest = f" and {numbers.count(more)} more" if more > 0 else ""
        yield Labelled("batch", Text(f"training examples {batch}{rest}"))
    test, validation = numbers.score(summary.test_score), numbers.score(summary.val_score)
    if not summary.info.is_own_loop:  # which gradcli does not evaluate
        name = summary.info.metric.name
        fits = len(name) < LABEL_WIDTH
        yield Labelled(
            name if fits else "score",
            Text.assemble(
                "" if fits else f"{name}: ",
                (f"test {test}", STRONG),
                f", validation {validation}",
            ),
        )
    if summary.further:
        yield Labelled("further", Text("; ".join(map(_further, summary.further))))
    yield Labelled("train loss", Text(numbers.score(summary.train_loss)))
    length = [numbers.count(summary.epochs, "epoch")] if summary.epochs else []
    length.append(numbers.count(summary.steps, "step"))
    if not math.isnan(summary.steps_per_second):
        length.append(f"{numbers.norm(summary.steps_per_second)} steps/s")
    length.append(f"{numbers.share(summary.clipped_fraction)} of steps clipped")
    yield Labelled("length", Text(", ".join(length)))
    if summary.clip_outlook is not None:
        yield Labelled("grad norm", Text(_outlook(summary.clip_outlook)))


def _further(scores: MetricScores) -> str:
    test, validation = numbers.score(scores.test), numbers.score(scores.val)
    return f"{scores.metric.name} test {test}, validation {validation}"


def _outlook(outlook: ClipOutlook) -> str:
    """Say how large the norms before clipping were, and what other limits would clip."""
    values = (outlook.median, outlook.percent_90, outlook.largest)
    median, percent_90, largest = map(numbers.norm, values)
    norms = f"before clip: median {median}, 90% below {percent_90}, largest {largest}"
    if not outlook.limits:
        return norms
    pairs = zip(outlook.limits, outlook.would_clip, strict=True)
    shares = ", ".join(f"{limit:g} {numbers.share(fraction)}" for limit, fraction in pairs)
    return f"{norms}; a limit of {shares.replace(' ', ' would clip ', 1)} of steps"


def _layers(summary: TrainSummary, width: int) -> list[Line]:
    """Lay out the gradient norms of the layers over the run; of very many, evenly spaced ones."""
    shown = visible_layers([None] * len(summary.layers), MOST_LAYERS)
    lines = table(fitting(layer_columns(summary, shown), width), width)
    if len(shown) < len(summary.layers):
        hidden = numbers.count(len(summary.layers) - len(shown), "layer")
        lines.append([piece(f"and {hidden} between them", TITLE)])
    return lines


def layer_columns(summary: TrainSummary, shown: Sequence[int]) -> list[Column]:
    """Return what is said of layers over the run, one row for each place in `shown`."""
    layers = [summary.layers[index] for index in shown]
    shapes = {layer.name: layer.shape for layer in summary.info.layers}

    def column(
        above: str, title: str, write: Callable[[float], str], values: list[float], rank: int
    ) -> Column:
        return Column(title, [write(value) for value in values], rank, "right", above=above)

    before = [layer.grad_norm_before_clip for layer in layers]
    return [
        Column("layer", [layer.name for layer in layers], styles=STRONG),
        Column("shape", [numbers.shape(shapes[layer.name]) for layer in layers], 4),
        column("grad norm", "first", numbers.norm, [norm.first for norm in before], 0),
        column("before clip", "last", numbers.norm, [norm.last for norm in before], 0),
        column("", "largest", numbers.norm, [norm.max for norm in before], 3),
        column("after", "last", numbers.norm, [one.grad_norm_after_clip.last for one in layers], 1),
        column("update", "ratio", numbers.ratio, [layer.update_ratio for layer in layers], 2),
        column("steps", "clipped", numbers.share, [one.clipped_fraction for one in layers], 5),
    ]


def _groups(summary: TrainSummary, width: int) -> list[Line]:
    """Lay out the parameter groups: what they took, their learning rates and gradient norms."""
    groups = summary.groups
    norms = [group.grad_norm_before_clip for group in groups]

    def column(above: str, title: str, values: list[float], rank: int = 0) -> Column:
        cells = [numbers.known_norm(value) for value in values]
        return Column(title, cells, rank, "right", above=above)

    columns = [
        Column("group", [group.info.name for group in groups], styles=STRONG),
        Column("class", [group.info.optimizer.rpartition(".")[2] for group in groups]),
        column("lr", "first", [group.first_learning_rate for group in groups]),
        column("", "last", [group.last_learning_rate for group in groups], 1),
        column("grad norm", "first", [norm.first for norm in norms]),
        column("before clip", "last", [norm.last for norm in norms]),
    ]
    kept = fitting(columns, width)
    room = min(width - total_width(kept) - len(GAP), LONGEST_GROUP)
    names = [shorten_list(", ".join(group.info.parameters), room) for group in groups]
    return table(fitting([*kept, Column("parameters", names, 2)], width), width)


def _time(summary: TrainSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw where the time went. In the user's own loop only its total is known."""
    if any(summary.phases.values()):
        yield from _phases(summary, options)
    else:
        yield Labelled("time", Text(f"{numbers.duration(summary.seconds_total)} in total"))


def _phases(summary: TrainSummary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Draw where the time went: one bar with a texture per phase, which the legend names."""
    width = min(options.max_width - LABEL_WIDTH, LONGEST_BAR)
    pieces = [piece("time".ljust(LABEL_WIDTH), TITLE)]
    edge = total = 0.0
    for index, share in enumerate(summary.phases.values()):
        total += share
        cells = round(total * width) - round(edge * width)
        edge = total
        pieces.append(piece(TEXTURES[index] * cells, "cyan"))
    yield Lines([pieces])
    yield from labelled_lines("", _legend(summary, options.max_width - LABEL_WIDTH))
    yield Labelled(
        "",
        Text(
            f"{numbers.duration(summary.seconds_total)} in total, "
            f"{numbers.duration(summary.seconds_train)} in training steps, "
            f"{numbers.duration(summary.seconds_first_step)} until the first step was done"
        ),
    )


def _legend(summary: TrainSummary, width: int) -> list[Line]:
    """Lay out what each texture stands for, in as many lines of at most `width` as it takes."""
    lines: list[Line] = [[]]
    room = width
    for texture, (phase, part) in zip(TEXTURES, summary.phases.items(), strict=True):
        text = f" {phase} {part:.0%}{GAP}"
        if lines[-1] and len(texture + text.rstrip()) > room:
            lines.append([])
            room = width
        lines[-1] += [piece(texture, "cyan"), piece(text)]
        room -= len(texture + text)
    return lines


def without_findings(summary: TrainSummary) -> str:
    """Say what it means that there is no finding."""
    if not summary.steps:
        return "not tested: no step is on record"
    if summary.steps_are_damaged:
        return "nothing found in the steps that can be read"
    return "nothing to report"


def _diagnosis(summary: TrainSummary) -> Iterator[RenderableType]:
    findings = by_severity(summary.findings)
    if not findings:
        yield Labelled("diagnosis", Text(without_findings(summary)))
    for index, finding in enumerate(findings[:MOST_FINDINGS]):
        yield from finding_lines(finding, "diagnosis" if index == 0 else "")
    if len(findings) > MOST_FINDINGS:
        more = numbers.count(len(findings) - MOST_FINDINGS, "more finding")
        yield Labelled("", Text(f"and {more}: gradcli runs show --json {summary.path}", TITLE))
