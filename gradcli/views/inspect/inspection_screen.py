"""The screen of an inspection: what the gradients do, what is wrong, what to try.

Drawn from an `Inspection`, or from several side by side, for a terminal and for a pipe. The
sentences come from `inspection_sentences` and `probe_sentences`, the table of layers from
`layer_table`, the heat map's shades from `heat_map`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.inspection.advice_trial import AdviceTrial
from gradcli.inspection.inspection import NOT_TESTED, Event, Inspection, NormHistory, SideBySide
from gradcli.notation import numbers
from gradcli.probes.probe import no_result
from gradcli.probes.registry import known_probes
from gradcli.views.findings import by_severity, finding_lines, verdict_style, with_override
from gradcli.views.heading import joined
from gradcli.views.inspect.heat_map import (
    ASCII_GLYPHS,
    GLYPHS,
    Shades,
    column_starts,
    columns_of,
    styled,
)
from gradcli.views.inspect.inspection_sentences import (
    clipping_sentence,
    convergence_sentences,
    depth_sentence,
    describe_setting,
    describe_state,
    event_sentences,
    untested_sentences,
    verdict_in_words,
)
from gradcli.views.inspect.layer_table import LONGEST_NAME, MOST_LAYERS, chosen_layers, layer_lines
from gradcli.views.inspect.probe_history import history_lines
from gradcli.views.inspect.probe_sentences import cost_phrase, probe_label, probe_sentences
from gradcli.views.inspect.side_by_side import side_by_side_screen
from gradcli.views.inspect.trial_sentences import trial_sentences
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import GAP, STRONG, TITLE, Line, Lines, fit, piece, shorten
from gradcli.views.words import Text

#: Findings about a step whose batch may be to blame.
_OF_A_BATCH = ("spike", "bad-batch")
LONGEST_MAP = 100
"""Columns of the heat map."""
EVENT_SYMBOLS = {"spike": "^", "non-finite": "!", "lr-change": "|"}
EVENT_MEANINGS = {"spike": "spike", "non-finite": "not finite", "lr-change": "new learning rate"}


def inspection_screen(inspection: Inspection | SideBySide) -> RenderableType:
    """Draw what was found. In a pipe the tables keep all columns, however wide."""
    if isinstance(inspection, SideBySide):
        return side_by_side_screen(inspection)
    return _InspectionScreen(inspection)


class _InspectionScreen:
    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inspection = self._inspection
        yield from _headline(inspection, options.max_width)
        yield ""
        if inspection.history is not None:
            yield from _heat_map(inspection, inspection.history, options)
            yield ""
        if inspection.layers:
            width = options.max_width if options.is_terminal else None
            yield Lines(layer_lines(inspection, width, ascii_only=options.ascii_only))
            yield ""
        yield from _observations(inspection)
        yield from _probes(inspection)
        yield ""
        if inspection.probe_history:
            width = options.max_width if options.is_terminal else None
            yield Lines(history_lines(inspection, width))
            yield ""
        yield from _diagnosis(inspection)
        yield ""
        if inspection.trial is not None:
            yield from _trial(inspection.trial)
            yield ""
        yield from whole_lines("next", commands_after_inspection(inspection))


def _headline(inspection: Inspection, width: int) -> Iterator[RenderableType]:
    target = inspection.target or "the default model"
    style = verdict_style(inspection.verdict, inspection.findings)
    yield Text.assemble((verdict_in_words(inspection), style), "  ", (target, STRONG))
    yield Text(joined(describe_setting(inspection), ", ", width), TITLE)
    yield Text(describe_state(inspection), TITLE)
    yield from map(Text, inspection.notes)


def _heat_map(
    inspection: Inspection, history: NormHistory, options: ConsoleOptions
) -> Iterator[RenderableType]:
    """Draw every layer's gradient norm over the steps, the input at the top."""
    rows = chosen_layers(inspection, MOST_LAYERS)
    names = [shorten(inspection.layers[row].name, LONGEST_NAME) for row in rows]
    margin = max(map(len, (*names, "events"))) + len(GAP)
    width = max(min(options.max_width - margin, LONGEST_MAP), 1)
    shades = Shades.covering(history.log10_norm, ASCII_GLYPHS if options.ascii_only else GLYPHS)
    drawn = [shades.draw(row) for row in columns_of(history.log10_norm[rows], width)]
    title = "gradient norm before clipping, per layer over the steps"
    lines: list[Line] = [[piece(title, TITLE)]]
    lines += [
        [piece(fit(name, margin), STRONG), *styled(cells)]
        for name, cells in zip(names, drawn, strict=True)
    ]
    marks = event_marks(inspection.events, history, width)
    if marks.strip():
        lines.append([piece(fit("events", margin), TITLE), piece(marks)])
    lines.append([piece(fit("step", margin) + step_axis(history, width), TITLE)])
    if len(rows) < len(inspection.layers):
        hidden = numbers.count(len(inspection.layers) - len(rows), "layer")
        lines.append([piece(f"and {hidden} between them", TITLE)])
    lines.append([piece(fit("norm", margin), TITLE), *shades.legend("".join(drawn))])
    meanings = [
        f"{symbol} {EVENT_MEANINGS[kind]}"
        for kind, symbol in EVENT_SYMBOLS.items()
        if symbol in marks and symbol not in "".join(drawn)
    ]
    if meanings:
        lines.append([piece(" " * margin + GAP.join(meanings), TITLE)])
    yield Lines(lines)


def event_marks(events: Iterable[Event], history: NormHistory, width: int) -> str:
    """Put a symbol at the steps at which something happened; if several meet, the worst."""
    bins = len(history.last_step)
    starts = column_starts(bins, width)
    marks = [" "] * width
    for kind, symbol in sorted(EVENT_SYMBOLS.items(), key=lambda item: item[0] == "non-finite"):
        for event in events:
            if event.kind == kind:
                bin_ = min(int(history.last_step.searchsorted(event.step)), bins - 1)
                marks[int(starts.searchsorted(bin_, side="right")) - 1] = symbol
    return "".join(marks)


def step_axis(history: NormHistory, width: int) -> str:
    """Write the first and the last step at the ends of the map, and one in the middle."""
    bins = len(history.first_step)
    first, last = int(history.first_step[0]), int(history.last_step[-1])
    middle = int(history.first_step[column_starts(bins, width)[width // 2]])
    left, right = numbers.count(first), numbers.count(last)
    between = numbers.count(middle)
    room = width - len(left) - len(right)
    at = width // 2 - len(left)
    if at < 1 or at + len(between) >= room:
        return left + right.rjust(max(width - len(left), 0))
    return left + " " * at + between + right.rjust(width - len(left) - at - len(between))


def _observations(inspection: Inspection) -> Iterator[RenderableType]:
    """Say what the numbers mean, before any judgement."""
    by_weights = f"gradient w.r.t. weights: {depth_sentence(inspection.depth_slope)}"
    yield from _paragraphs("depth", [by_weights])
    if inspection.input_depth_slope.points >= 2:
        by_inputs = f"gradient w.r.t. inputs: {depth_sentence(inspection.input_depth_slope)}"
        yield from _paragraphs("", [by_inputs])
    if inspection.convergence is not None:
        yield from _paragraphs(
            "convergence", [" ".join(convergence_sentences(inspection.convergence))]
        )
    clipping = clipping_sentence(inspection)
    if clipping:
        yield from _paragraphs("clipped", [clipping])
    yield from _paragraphs("events", event_sentences(inspection))


def _probes(inspection: Inspection) -> Iterator[RenderableType]:
    """Give each probe's result and cost, then the others, and why they have none."""
    for name, sentences in probe_sentences(inspection).items():
        *others, last = sentences
        text = Text(last)
        if name in inspection.probes.costs:
            text.append(f" ({cost_phrase(inspection.probes.costs[name])})", TITLE)
        label = probe_label(name)
        yield from _paragraphs(label, others)
        yield Labelled("" if others else label, text)
    for name, reason in inspection.probes.refused.items():
        yield Labelled(probe_label(name), Text(no_result(reason), "yellow"))


def _diagnosis(inspection: Inspection) -> Iterator[RenderableType]:
    """Lay out all findings, and which rules could not be applied."""
    findings = by_severity(inspection.findings)
    if not findings:
        nothing = "not tested" if inspection.verdict == NOT_TESTED else "nothing to report"
        if inspection.verdict == NOT_TESTED and inspection.tested:
            nothing = "no finding, but too little was tested to call it healthy"
        yield Labelled("diagnosis", Text(nothing))
    for row, finding in enumerate(findings):
        yield from finding_lines(finding, "" if row else "diagnosis", rule=True)
    if inspection.tested:
        yield Labelled("tested", Text(", ".join(inspection.tested), TITLE))
    yield from _paragraphs("not tested", untested_sentences(inspection.not_tested), TITLE)


def _trial(trial: AdviceTrial) -> Iterator[RenderableType]:
    """Say what came of trying the advice, and below it what that rests on."""
    result, *rest = trial_sentences(trial)
    yield Labelled("trial", Text(result, STRONG))
    yield from _paragraphs("", rest, TITLE)


def _paragraphs(label: str, texts: list[str], style: str = "") -> Iterator[RenderableType]:
    for row, text in enumerate(texts):
        yield Labelled("" if row else label, Text(text, style))


def commands_after_inspection(inspection: Inspection) -> list[str]:
    """Return the commands worth typing after this inspection, the most useful first."""
    target, paths = shlex.split(inspection.target), inspection.path_arguments
    inspect, train = ["gradcli", "inspect-gradients", *paths], ["gradcli", "train", *paths]
    commands = []
    if inspection.kind == "fresh":
        better = target
        advice = [one.override for one in by_severity(inspection.findings) if one.override]
        if advice:
            better = with_override(target, advice[0])
            commands.append([*inspect, *better])
        commands.append([*train, *better])
    elif inspection.status in ("interrupted", "lost") and not inspection.is_own_loop:
        commands.append([*train, "--resume", *target])
    commands += _commands_on_spikes(inspection, [*inspect, *target])
    commands += _commands_on_advice(inspection, [*inspect, *target])
    if inspection.has_weights and not inspection.is_own_loop and not _was_probed(inspection):
        commands.append([*inspect, *target, "--probe", "all"])
    if inspection.kind != "fresh":
        commands.append(["gradcli", "runs", "show", *target])
    return [shlex.join(command) for command in commands]


def _commands_on_spikes(inspection: Inspection, inspect: list[str]) -> list[list[str]]:
    """Return the command that looks at the batch of a spike, if a finding is about one."""
    if inspection.kind == "fresh" or inspection.is_own_loop:
        return []
    steps = [
        int(one.evidence["step"])
        for one in inspection.findings
        if one.code in _OF_A_BATCH and "step" in one.evidence
    ]
    return [[*inspect, "--step", str(steps[0])]] if steps else []


def _commands_on_advice(inspection: Inspection, inspect: list[str]) -> list[list[str]]:
    """Return the command that tries the advice of a run; if it helped, the one that takes it."""
    trial = inspection.trial
    if trial is None:
        advice = [one for one in inspection.findings if one.override and one.severity != "info"]
        return [[*inspect, "--try"]] if advice and inspection.kind != "fresh" else []
    if trial.outcome == "helps":
        return [list(trial.command)] if trial.command else []
    if trial.outcome in ("no-difference", "not-sure") and trial.without is not None:
        total = trial.without.total_steps
        longer = [*inspect, "--try", "--try-steps", str(total)]
        return [longer] if trial.steps < total else []
    return []


def _was_probed(inspection: Inspection) -> bool:
    """Whether a probe was requested."""
    unasked = {probe.name for probe in known_probes() if probe.unasked}
    return bool({*inspection.probes.costs, *inspection.probes.refused} - unasked)
