"""The screen of a search for a learning rate: the proposal, how sure it is, and the losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from gradcli.comparison.best_rate import FoundRate, RateLosses
from gradcli.notation import numbers
from gradcli.views.heading import describe, joined
from gradcli.views.labelled import Labelled, whole_lines
from gradcli.views.table import GAP, STRONG, TITLE, Line, Lines, piece
from gradcli.views.words import Text

LONGEST_BAR = 40
BAR = "█"
MARK = "<"
#: The screen does not mention first updates that differ by less from later ones.
_NOTEWORTHY = 1.05


def rate_screen(found: FoundRate) -> RenderableType:
    """Draw what a search has found."""
    return _RateScreen(found)


class _RateScreen:
    def __init__(self, found: FoundRate) -> None:
        self._found = found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found, proposed = self._found, self._found.proposed
        yield _headline(found)
        yield Text(joined(describe(found.info), ", ", options.max_width), TITLE)
        yield ""
        seeds = numbers.count(len(found.search.seeds), "seed")
        if proposed.rehearsed:
            yield Text(f"{found.judged_by}, after {_length(proposed.rehearsed)}, {seeds}", TITLE)
            yield Lines(picture(proposed.rehearsed, proposed.interval))
        if proposed.scouted:
            seed = found.search.seeds[0]
            yield Text(f"before that, after {_length(proposed.scouted)}, seed {seed}", TITLE)
            yield Lines(picture(proposed.scouted, proposed.interval))
        yield ""
        for number, sentence in enumerate(sentences(found)):
            yield Labelled("" if number else "result", Text(sentence))
        yield ""
        yield from whole_lines("next", found.commands)


def _headline(found: FoundRate) -> Text:
    if not found.proposed.is_found:
        return Text("cannot say", "yellow")
    low, high = found.interval
    return Text.assemble(
        (f"lr {found.learning_rate:g}", "bold green"),
        f"  {low:g} to {high:g} (95%, {numbers.count(len(found.search.seeds), 'seed')})",
    )


def _length(rates: Sequence[RateLosses]) -> str:
    return numbers.count(rates[0].steps, "step")


def picture(rates: Sequence[RateLosses], interval: tuple[float, float]) -> list[Line]:
    """Draw the mean loss of each rate as a bar; those in the interval are marked.

    The bars begin at the lowest loss less a tenth of the span, so that each has a length. A rate
    that diverged has none.
    """
    known = [one.mean for one in rates if math.isfinite(one.mean)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = (high - low) or 1.0
    names = [f"{one.rate:g}" for one in rates]
    width = max(map(len, names))
    lines: list[Line] = []
    for one, name in zip(rates, names, strict=True):
        inside = interval[0] <= one.rate <= interval[1]
        line = [piece(f"  {name:<{width}}{GAP}", STRONG if inside else "")]
        if math.isfinite(one.mean):
            length = round((0.1 + 0.9 * (one.mean - low) / span) * LONGEST_BAR)
            line.append(piece(BAR * max(length, 1) + f" {numbers.score(one.mean)}{_spread(one)}"))
        else:
            line.append(piece("diverged", "red"))
        lines.append([*line, piece(f"  {MARK} in the interval", TITLE)] if inside else line)
    return lines


def _spread(one: RateLosses) -> str:
    if len(one.losses) == 1:
        return ""
    return f" ({numbers.score(min(one.losses))} to {numbers.score(max(one.losses))})"


def sentences(found: FoundRate) -> Iterator[str]:
    """Say what was found, what it rests on, and what it means for the rate of the config."""
    if not found.proposed.is_found:
        yield _why_not(found)
        return
    proposed, search = found.proposed, found.search
    low, high = found.interval
    own = sorted(set(proposed.of_seeds))
    each = f"{own[0]:g}" if len(own) == 1 else f"{own[0]:g} to {own[-1]:g}"
    yield (
        f"In rehearsals of {numbers.count(search.steps, 'step')} the seeds have their lowest loss "
        f"at {each}."
    )
    if proposed.lowered_by > 1:
        yield (
            f"The training has {numbers.count(search.total_steps)}, and shorter ones favour larger "
            f"rates: lowered by a factor of {proposed.lowered_by:.1f}."
        )
    longer = search.longer_at_first
    if abs(math.log(longer)) > math.log(_NOTEWORTHY):
        relation, change = ("longer", "raised") if longer > 1 else ("shorter", "lowered")
        factor = max(longer, 1 / longer)
        yield (
            f"The first updates of {found.info.optimizer} are {relation} than its later ones: "
            f"{change} by a factor of {factor:.1f}."
        )
    if proposed.hardly_trains:
        lowest, highest = map(numbers.score, proposed.span)
        yield (
            f"But the network hardly trains at any rate: the losses are {lowest} to {highest}. It "
            "may take more steps, or another initialisation."
        )
    if low <= search.centre <= high:
        yield f"The config's {search.centre:g} is in the interval."
    else:
        relation = "below" if search.centre < low else "above"
        yield f"The config's {search.centre:g} is {relation} the interval."


def _why_not(found: FoundRate) -> str:
    proposed, seeds = found.proposed, numbers.count(len(found.search.seeds), "seed")
    rates = [one.rate for one in (*proposed.scouted, *proposed.rehearsed)]
    tried = f"{min(rates):g} to {max(rates):g}"
    match proposed.reason:
        case "diverged":
            return f"Every rate from {tried} diverges with some seed."
        case "flat":
            return (
                f"From {tried} the loss differs no more than between seeds, so no rate can be told "
                "from another."
            )
        case "at-the-end":
            best = min(proposed.rehearsed, key=lambda one: one.mean)
            return f"The loss is lowest at {best.rate:g}, an end of what was tried ({tried})."
        case _:
            low, high = proposed.interval
            return (
                f"The {seeds} disagree: their best rate may lie anywhere from {low:g} to {high:g}."
            )
