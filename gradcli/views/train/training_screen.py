"""The screen of a running training: from a `RunState` to lines of a given width and height.

Layout only. `run_state` holds what is known about the run, and `live_screen` owns the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.cells import cell_len

from gradcli.notation import numbers
from gradcli.records import Doubles
from gradcli.views.heading import describe, describe_fault, describe_groups, joined
from gradcli.views.sparkline import BoundedSeries, sparklines
from gradcli.views.table import (
    GAP,
    STRONG,
    TITLE,
    Column,
    Line,
    crop,
    fit,
    fitting,
    piece,
    shorten,
    shorten_list,
    table,
    total_width,
)
from gradcli.views.train.layer_marks import MARKS, Mark, marks
from gradcli.views.train.run_state import RunState

MARGIN = " "
PICTURE = "cyan"
SHORTEST_SPARKLINE = 12
LONGEST_SPARKLINE = 48
LABEL_WIDTH = len("accuracy") + len(GAP)
SCORE_WIDTH = len("train 0.1234") + len(GAP)
CLOCK_WIDTH = len("59 min 59 s left")

TABLE_TITLES = 2
ROOMY_HEIGHT = 22
"""From this height on, blank lines separate the parts of the screen."""
FEWEST_LAYERS = 3
"""If these do not fit, everything below the table is left out, except for the progress bar."""


def screen(run_state: RunState, clock_text: str, width: int, height: int) -> list[Line]:
    """Draw a run as at most `height` lines, none wider than `width` cells.

    Args:
        run_state: what is known of the run.
        clock_text: the text next to the progress bar: the time left, or how the run ended.
        width: of the terminal, in cells.
        height: of the terminal, in lines.
    """
    inner = width - len(MARGIN)
    layer_marks = marks(run_state)
    head = _heading(run_state, inner)
    groups = [[piece(shorten_list(line, inner), TITLE)] for line in describe_groups(run_state.info)]
    legend = [_legend(run_state, layer_marks)]
    metrics = _metrics(run_state, inner)
    progress = _progress(run_state, clock_text, inner)
    blank: list[Line] = [[]] if height >= ROOMY_HEIGHT else []

    room = height - len(head) - TABLE_TITLES - len(legend) - len(metrics) - 1 - 3 * len(blank)
    if room - len(groups) < FEWEST_LAYERS:
        groups = []
    room -= len(groups)
    if room < FEWEST_LAYERS:
        legend, metrics = [], []
        room = max(height - len(head) - TABLE_TITLES - 1, 1)
    rows = _layers(run_state, layer_marks, inner, room)

    lines = [*head, *groups, *blank, *rows, *legend, *blank, *metrics, *blank, progress]
    return [crop([piece(MARGIN), *line], width) for line in lines[:height]]


def visible_layers(layer_marks: Sequence[Mark | None], room: int) -> list[int]:
    """Choose the most informative layers if `room` rows do not hold all of them.

    The first and the last come first, then the marked ones by severity, then the others. If not
    all layers with the same mark fit, evenly spaced ones are shown.
    """
    layers = range(len(layer_marks))
    chosen = list(dict.fromkeys([layers[0], layers[-1]]))[:room]
    for mark in (*MARKS, None):
        alike = [layer for layer in layers if layer_marks[layer] is mark and layer not in chosen]
        chosen += evenly_between(alike, room - len(chosen))
    return sorted(chosen)


def evenly_between(items: Sequence[int], most: int) -> list[int]:
    """Return all items, or `most` of them at equal distances."""
    count = min(len(items), most)
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _heading(run_state: RunState, width: int) -> list[Line]:
    info = run_state.info
    place = f"step {numbers.count(run_state.step)} of {numbers.count(info.total_steps)}"
    room = max(width - len("gradcli") - len(place) - 2 * len(GAP), 1)
    run = fit(info.run, room)
    return [
        [piece("gradcli", STRONG), piece(GAP + run + GAP), piece(place, TITLE)],
        [piece(joined(describe(info), " · ", width), TITLE)],
    ]


def _layers(
    run_state: RunState, layer_marks: Sequence[Mark | None], width: int, room: int
) -> list[Line]:
    """Lay out the table of layers: its titles and at most `room` more lines."""
    count = len(layer_marks)
    shown = visible_layers(layer_marks, room if count <= room else room - 1)
    lines = table(_columns(run_state, layer_marks, shown, width), width)
    if len(shown) < count:
        hidden = [mark for layer, mark in enumerate(layer_marks) if layer not in shown]
        marked = sum(mark is not None for mark in hidden)
        aside = f", {marked} of them marked" if marked else ""
        lines.append([piece(f"   … {numbers.count(len(hidden), 'more layer')}{aside}", TITLE)])
    return lines


def _columns(
    run_state: RunState, layer_marks: Sequence[Mark | None], shown: Sequence[int], width: int
) -> list[Column]:
    """Choose the columns that fit into `width`; the sparkline takes the space that is left."""
    layers = [run_state.info.layers[layer] for layer in shown]
    symbols = [layer_marks[layer] for layer in shown]
    longest_name = max(width // 3, 12)

    def cells(write: Callable[[float], str], values: Doubles | None) -> list[str]:
        return [write(float(values[layer])) if values is not None else "" for layer in shown]

    trend = Column("over the run", [" " * SHORTEST_SPARKLINE] * len(shown), rank=3, styles=PICTURE)
    columns = [
        Column(
            "",
            [mark.symbol if mark else " " for mark in symbols],
            styles=[mark.style if mark else "" for mark in symbols],
        ),
        Column("layer", [shorten(layer.name or layer.kind, longest_name) for layer in layers]),
        Column("kind", [layer.kind for layer in layers], rank=8, styles=TITLE),
        Column("shape", [numbers.shape(layer.shape) for layer in layers], rank=6, styles=TITLE),
        Column("before clip", cells(numbers.aligned_norm, run_state.before), above="grad norm"),
        Column(
            "after clip", cells(numbers.aligned_norm, run_state.after), rank=1, above="grad norm"
        ),
        trend,
        Column("ratio", cells(numbers.ratio, run_state.update_ratio), 4, "right", above="update"),
        Column(
            "clipped", cells(numbers.share, run_state.clipped_fraction), 5, "right", above="steps"
        ),
        Column("norm", cells(numbers.aligned_norm, run_state.weight_norm), rank=7, above="weight"),
    ]
    kept = fitting(columns, width)
    if trend in kept:
        size = min(trend.width + width - total_width(kept), LONGEST_SPARKLINE)
        drawn = sparklines(run_state.norms.points()[:, shown], size, log=True, least_span=2)
        kept[kept.index(trend)] = replace(trend, cells=drawn)
    return kept


def _legend(run_state: RunState, layer_marks: Sequence[Mark | None]) -> Line:
    """Explain the marks on the screen; after a fault, say where it arose instead."""
    if run_state.fault is not None:
        return [piece(describe_fault(run_state.fault), "bold red")]
    used = [mark for mark in MARKS if mark in layer_marks]
    return [
        part
        for mark in used
        for part in (piece(mark.symbol, mark.style), piece(f" {mark.meaning}{GAP}", TITLE))
    ]


def _metrics(run_state: RunState, width: int) -> list[Line]:
    """Lay out the loss and the score over the run, and where the time goes."""
    validation, test = run_state.evaluations.get("val"), run_state.evaluations.get("test")
    recent_loss = run_state.loss.points()[-2:, 0]  # one point may be a single batch
    losses = [f"train {numbers.score(float(recent_loss.mean()))}"] if len(recent_loss) else []
    losses += [f"val {numbers.score(validation.loss)}"] if validation else []
    metric = run_state.info.metric
    scores = [
        f"{record.split} {numbers.score(record.score)}" for record in (validation, test) if record
    ]
    phases = [f"{phase} {part:.0%}" for phase, part in run_state.phase_shares().items()]
    time = joined(phases, GAP, width - LABEL_WIDTH) if phases else ""
    return [
        _trend("loss", losses, run_state.loss, width, log=True, least_span=2),
        _trend(
            metric.name if len(metric.name) < LABEL_WIDTH - 1 else "score",
            scores,
            run_state.val_score,
            width,
            log=not metric.is_accuracy and bool((run_state.val_score.points() > 0).all()),
            least_span=0.02 if metric.is_accuracy else 2,
        ),
        [piece(fit("time", LABEL_WIDTH), TITLE), piece(time)],
    ]


def _trend(
    label: str,
    values: Sequence[str],
    series: BoundedSeries,
    width: int,
    *,
    log: bool,
    least_span: float,
) -> Line:
    """Lay out a measure: its name, two values and a sparkline of the run."""
    fields = "".join(fit(value, SCORE_WIDTH) for value in values).ljust(2 * SCORE_WIDTH)
    size = min(width - LABEL_WIDTH - len(fields), LONGEST_SPARKLINE)
    picture = sparklines(series.points(), size, log=log, least_span=least_span)[0]
    return [piece(fit(label, LABEL_WIDTH), TITLE), piece(fields), piece(picture, PICTURE)]


def _progress(run_state: RunState, clock_text: str, width: int) -> Line:
    info = run_state.info
    epoch = f"epoch {max(run_state.epoch, 1)} of {info.epochs}"
    done = 1.0 if info.is_own_loop else min(run_state.step / info.total_steps, 1.0)
    percent = f"{int(100 * done)}%"  # rounded down: 100% means finished
    right = f"{percent:>4}{GAP}{fit(clock_text, max(CLOCK_WIDTH, cell_len(clock_text)), 'right')}"
    return [
        piece(epoch + GAP),
        *bar(done, width - len(epoch) - len(right) - 2 * len(GAP)),
        piece(GAP + right),
    ]


def bar(done: float, width: int) -> Line:
    """Draw a progress bar whose two parts differ in shape as well as in colour."""
    filled = int(done * max(width, 0))
    return [piece("━" * filled, PICTURE), piece("─" * (width - filled), TITLE)]
