"""How two runs differ: settings, origin, results and gradients, and from which step on."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.inspection.parting.contrast import Contrast
from gradcli.inspection.parting.layer_courses import LayerCourse
from gradcli.inspection.run_difference import RunDifference, fair_comparison, setting
from gradcli.notation import numbers
from gradcli.records import Metric, TrainSummary
from gradcli.views.heading import STATUS_STYLES
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.runs.parting_sentences import growth_sentence, layer_names, place_sentence
from gradcli.views.table import (
    STRONG,
    Column,
    Line,
    Lines,
    fitting,
    shorten,
    table,
    total_width,
)
from gradcli.views.train.training_screen import visible_layers
from gradcli.views.words import Text

MOST_LAYERS = 24
WIDEST_VALUE = 28


def difference_screen(difference: RunDifference) -> RenderableType:
    """Draw how two runs differ."""
    return _DifferenceScreen(difference)


class _DifferenceScreen:
    def __init__(self, difference: RunDifference) -> None:
        self._difference = difference

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        difference = self._difference
        for letter, run in (("a", difference.a), ("b", difference.b)):
            yield Text.assemble(
                (letter, STRONG), "  ", (run.info.run, STRONG), "  ", _status(run), no_wrap=True
            )
        for title, contrasts in (
            ("settings", difference.settings),
            ("made with", difference.origin),
            ("group of", difference.routing[:MOST_LAYERS]),
        ):
            if contrasts:
                yield ""
                yield Lines(_table(_contrast_columns(title, contrasts), options))
        if len(difference.routing) > MOST_LAYERS:
            more = numbers.count(len(difference.routing) - MOST_LAYERS, "more parameter")
            yield Text(f"and {more} in other groups")
        yield ""
        yield Lines(_table(_result_columns(difference.a, difference.b), options))
        layers = _layer_columns(difference.a, difference.b)
        if layers:
            yield ""
            yield Lines(_table(layers, options))
        courses = _course_columns(difference.layer_courses) if difference.layer_courses else []
        if courses:
            yield ""
            yield Lines(_table(courses, options))
        yield ""
        yield from _conclusion(difference)
        yield ""
        yield from whole_lines("next", commands_after_difference(difference))


def commands_after_difference(difference: RunDifference) -> list[str]:
    """Return the commands worth typing after comparing two runs, the most useful first."""
    commands = []
    fair = fair_comparison(difference)
    if fair is not None:
        commands.append(fair)
    commands += [["gradcli", "runs", "show", run.path] for run in (difference.a, difference.b)]
    return [shlex.join(command) for command in commands]


def _shown(value: object) -> str:
    return numbers.ABSENT if value is None else shorten(setting(value), WIDEST_VALUE)


def _status(run: TrainSummary) -> tuple[str, str]:
    return run.status, STATUS_STYLES[run.status]


def _table(columns: Sequence[Column], options: ConsoleOptions) -> list[Line]:
    width = options.max_width if options.is_terminal else total_width(columns)
    return table(fitting(columns, width), width)


def _contrast_columns(title: str, contrasts: Sequence[Contrast]) -> list[Column]:
    return [
        Column(title, [one.key for one in contrasts], styles=STRONG),
        *(
            Column(letter, [_shown(getattr(one, letter)) for one in contrasts])
            for letter in ("a", "b")
        ),
    ]


def _result_columns(a: TrainSummary, b: TrainSummary) -> list[Column]:
    """Lay out the results of both, and the change from the first to the second.

    A result that neither has is left out.
    """
    rows: list[tuple[str, str, str, str]] = []

    def add(name: str, write: Callable[[float], str], one: float, other: float) -> None:
        if math.isnan(one) and math.isnan(other):
            return
        change = other - one
        said = "" if math.isnan(change) else f"{'-' if change < 0 else '+'}{write(abs(change))}"
        rows.append((name, write(one), write(other), said if change else ""))

    def add_scores(split: str, one: float, other: float) -> None:
        if a.info.metric == b.info.metric:
            add(f"{split} {a.info.metric.name}", numbers.score, one, other)
        elif not (math.isnan(one) and math.isnan(other)):
            rows.append(
                (f"{split} score", _named(one, a.info.metric), _named(other, b.info.metric), "")
            )

    add_scores("test", a.test_score, b.test_score)
    add_scores("validation", a.val_score, b.val_score)
    others = {one.metric: one for one in b.further}
    for one in a.further:
        if other := others.get(one.metric):
            add(f"test {one.metric.name}", numbers.score, one.test, other.test)
            add(f"validation {one.metric.name}", numbers.score, one.val, other.val)
    add("train loss", numbers.score, a.train_loss, b.train_loss)
    add("steps", lambda value: numbers.count(int(value)), a.steps, b.steps)
    add("steps per second", numbers.known_norm, a.steps_per_second, b.steps_per_second)
    add("seconds", numbers.known_norm, a.seconds_total, b.seconds_total)
    add("steps clipped", numbers.share, a.clipped_fraction, b.clipped_fraction)
    names, of_a, of_b, changes = zip(*rows, strict=True)
    return [
        Column("result", names, styles=STRONG),
        Column("a", of_a, 0, "right"),
        Column("b", of_b, 0, "right"),
        Column("b - a", changes, 1, "right"),
    ]


def _named(score: float, metric: Metric) -> str:
    return f"{metric.name} {numbers.score(score)}"


def _layer_columns(a: TrainSummary, b: TrainSummary) -> list[Column]:
    """Lay out the mean gradient norms of the layers that both runs have; empty without any."""
    others = {layer.name: layer for layer in b.layers}
    pairs = [(layer, others[layer.name]) for layer in a.layers if layer.name in others]
    pairs = (
        [pairs[row] for row in visible_layers([None] * len(pairs), MOST_LAYERS)] if pairs else []
    )
    if not pairs:
        return []
    means = [
        (one.grad_norm_before_clip.mean, other.grad_norm_before_clip.mean) for one, other in pairs
    ]
    return [
        Column("mean grad norm", [one.name for one, _ in pairs], styles=STRONG),
        Column("a", [numbers.known_norm(one) for one, _ in means], 0, "right"),
        Column("b", [numbers.known_norm(other) for _, other in means], 0, "right"),
        Column(
            "b / a",
            [numbers.known_norm(other / one if one else math.nan) for one, other in means],
            1,
            "right",
        ),
    ]


def _course_columns(courses: Sequence[LayerCourse]) -> list[Column]:
    """Lay out how far apart each layer is, as relative distances of its gradient norm."""
    rows = [courses[row] for row in visible_layers([None] * len(courses), MOST_LAYERS)]
    columns = [Column("relative distance", [one.name for one in rows], styles=STRONG)]
    for number, (step, _) in enumerate(courses[0].gradients):
        values = [numbers.known_norm(one.gradients[number][1]) for one in rows]
        columns.append(Column(f"step {numbers.count(step)}", values, 0, "right"))
    ends = [numbers.known_norm(one.weights) for one in rows]
    if any(one != numbers.ABSENT for one in ends):
        columns.append(Column("weights at the end", ends, 1, "right"))
    return columns if len(columns) > 1 else []


def _conclusion(difference: RunDifference) -> Iterator[RenderableType]:
    """Say what was found in the runs, from which step on they differ, and why."""
    for letter, run in (("a", difference.a), ("b", difference.b)):
        codes = dict.fromkeys(finding.code for finding in run.findings)
        yield Labelled(f"findings {letter}", Text(", ".join(codes) or "none"))
    yield Labelled("steps", Text(steps_sentence(difference)))
    if difference.first_place is not None:
        yield Labelled("parting", Text(place_sentence(difference.first_place)))
    if difference.growth is not None:
        yield Labelled("growth", Text(growth_sentence(difference.growth)))
    yield from _on_metrics(difference.a.info.metric, difference.b.info.metric)
    yield Labelled("verdict", Text(difference_verdict(difference)))


def _on_metrics(a: Metric, b: Metric) -> Iterator[RenderableType]:
    """Say that scores cannot be compared, if they cannot."""
    if a == b:
        return
    if a.name != b.name:
        which = f"{a.name} in a and {b.name} in b"
    else:
        which = f"{a.name}, to {a.direction} in a and to {b.direction} in b"
    yield Labelled("scores", Text(f"The runs are scored by different metrics: {which}."))


def steps_sentence(difference: RunDifference) -> str:
    """Say up to which step the recorded numbers are the same."""
    compared, first = difference.steps_compared, difference.first_different_step
    if not compared:
        return "The runs have no logged step in common."
    what = "Loss and gradient norms" if difference.norms_compared else "Losses"
    common = numbers.count(compared, "logged step")
    if first is None:
        return f"{what} are equal at all {common} that both runs have."
    if first == 1:
        return f"{what} differ from the first step on."
    return f"{what} are equal before step {numbers.count(first)} and differ from there on."


def difference_verdict(difference: RunDifference) -> str:
    """Say how the runs differ, and what can be concluded from their results."""
    if not difference.decisions:
        return _verdict_on_like_settings(difference)
    said = _verdict_on_settings(difference)
    if not difference.origin:
        return said
    return f"{said} They were also made differently: {_origin(difference)}."


def _verdict_on_settings(difference: RunDifference) -> str:
    """Say in which settings the runs differ; `alone` if nothing else recorded differs."""
    keys = [one.key for one in difference.decisions]
    alone = "" if difference.origin else " alone"
    if keys == ["seed"]:
        apart = abs(difference.a.test_score - difference.b.test_score)
        one_metric = difference.a.info.metric == difference.b.info.metric
        if math.isnan(apart) or difference.origin or not one_metric:
            return f"The runs differ in the seed{alone}."
        name = difference.a.info.metric.name
        return f"The runs differ in the seed alone: {numbers.score(apart)} of {name} is luck here."
    given = any(one.key.startswith(f"{keys[0]}.") for one in difference.settings)
    one = f"{keys[0]}{' and its own keys' if given else alone}"
    named = one if len(keys) == 1 else numbers.count(len(keys), "setting")
    runs = (("a", difference.a), ("b", difference.b))
    diverged = [letter for letter, run in runs if run.status == "diverged"]
    if len(diverged) == 1:
        return f"The runs differ in {named}, and {diverged[0]} diverged."
    if difference.steps_are_same:
        return f"The runs differ in {named}, but made the same steps."
    return f"The runs differ in {named}. With one seed each, which one is better may be luck."


def _origin(difference: RunDifference) -> str:
    return ", ".join(one.key for one in difference.origin)


def _verdict_on_like_settings(difference: RunDifference) -> str:
    """Say whether two runs with the same settings are the same, and if not, why."""
    same = "The settings are the same"
    if difference.settings:  # the table lists some, of what is recorded or saved
        same = "The settings that may change a training are the same"
    if not difference.steps_compared:
        return f"{same}, but the runs cannot be compared: they have no logged step in common."
    if difference.steps_are_same:
        apart = ", apart from what they record or save" if difference.settings else ""
        return f"The runs are the same{apart}."
    if difference.first_different_step is None and difference.first_place is not None:
        return "All logged steps are equal, but the runs are not the same, as `parting` says."
    if difference.first_different_step is None:
        return "The runs are the same up to the end of the shorter one."
    causes = " and ".join(
        f"the {name} differs from step {numbers.count(step)} on" for name, step in difference.causes
    )
    if difference.origin:
        origin = _origin(difference)
        made = f"{same}, but the runs were made differently: {origin}."
        return f"{made} {causes[:1].upper()}{causes[1:]}." if causes else made
    if causes:
        return f"{same}, but {causes}."
    place = difference.first_place
    if place is not None and place.sure and place.reasons:
        return f"{same}, but not those of {layer_names(place.layers)}."
    return (
        f"{same}, and so is everything recorded about how the runs were made: something that is "
        "not recorded differs."
    )
