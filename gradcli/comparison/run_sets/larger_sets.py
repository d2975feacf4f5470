"""What to type after a comparison of sets: runs of further seeds that will count, or a look."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from gradcli.comparison.run_sets.members import ENDED, FoundRun, FoundSet, Score, found_run
from gradcli.comparison.run_sets.set_results import Member, RunSet
from gradcli.comparison.run_sets.set_words import find_set, known_runs, would_take
from gradcli.comparison.statistics import DIVERGED
from gradcli.comparison.statistics.set_tests import Pairing, SetPair
from gradcli.runs import Labels, Run
from gradcli.runs.choosing.conditions import conditions, is_condition
from gradcli.runs.choosing.facts import Facts
from gradcli.system.paths import Paths

Command = tuple[str, ...]
#: One run more is no advice if this many would be needed in all.
_MOST_SEEDS: Final = 30


@dataclass(frozen=True, slots=True)
class Asked:
    """How the comparison was asked for."""

    by: Score | None
    pairing: Pairing

    @property
    def options(self) -> Command:
        """What asks for the same again."""
        by = () if self.by is None else ("--by", self.by)
        return by if self.pairing == "auto" else (*by, "--pairing", self.pairing)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A run of a further seed."""

    word: str
    """Names the set with it; that of the set, or a wider one."""
    command: Command


def next_commands(
    results: Sequence[RunSet], pairs: Sequence[SetPair], sets: Sequence[FoundSet], asked: Asked
) -> tuple[Command, ...]:
    """Return what to type now.

    Further seeds of the best two sets, if these may give a verdict and will be in the sets; a
    comparison of wider sets, if these have them; why a run diverged; how two runs differ.
    """
    first, second = results[0], results[1]
    (pair,) = [one for one in pairs if {one.result.a, one.result.b} == {first.name, second.name}]
    diverged = [_diverged(one) for one in (first, second)]
    looks = [("gradcli", "runs", "show", one.path) for one in diverged if one is not None]
    commands: list[Command] = []
    if not looks and _may_be_decided(pair):
        commands += _further_runs((first, second), sets, asked)
    a, b = _two_alike(first, second)
    return (*commands, *looks, ("gradcli", "runs", "diff", a.path, b.path))


def _may_be_decided(pair: SetPair) -> bool:
    """Whether further seeds are known to help, or nothing is known yet."""
    result = pair.result
    return result.verdict == "tie" and (
        result.evidence == "none" or 0 < (result.seeds_needed or 0) <= _MOST_SEEDS
    )


def _diverged(one: RunSet) -> Member | None:
    return next((member for member in one.members if member.score == DIVERGED), None)


def _two_alike(first: RunSet, second: RunSet) -> tuple[Member, Member]:
    """Return a run of each set, of one seed if there is such a pair."""
    of_seed = {one.seed: one for one in second.members}
    for one in first.members:
        if one.seed is not None and one.seed in of_seed:
            return one, of_seed[one.seed]
    return first.members[0], second.members[0]


def _further_runs(
    two: tuple[RunSet, RunSet], sets: Sequence[FoundSet], asked: Asked
) -> Iterator[Command]:
    """Return commands that make sets larger, each of them in its own set alone."""
    known = known_runs(sets[0].runs_dir)
    plans: dict[str, _Plan] = {}
    for one, other in (two, two[::-1]):
        found = next(some for some in sets if some.name == one.name)
        others = [some.name for some in sets if some.name != one.name]
        plan = _plan(found, one, other, others, known)
        if plan is not None:
            plans[one.name] = plan
    words = [plans[one.name].word if one.name in plans else one.name for one in sets]
    widened = [find_set(word, one.runs_dir) for word, one in zip(words, sets, strict=True)]
    if _overlap(widened):
        return
    grown = any(_ended(wide) > _ended(one) for wide, one in zip(widened, sets, strict=True))
    if not grown:
        yield from (plan.command for plan in plans.values())
    if words != [one.name for one in sets]:
        where = Paths(runs_dir=sets[0].runs_dir).arguments()
        yield ("gradcli", "runs", "compare", *words, *asked.options, *where)


def _ended(found: FoundSet) -> int:
    return sum(one.run.status in ENDED for one in found.runs)


def _overlap(sets: Sequence[FoundSet]) -> bool:
    paths = [run.run.path.resolve() for one in sets for run in one.runs]
    return len({*paths}) < len(paths)


def _plan(
    found: FoundSet,
    one: RunSet,
    other: RunSet,
    others: Sequence[str],
    known: Sequence[Facts],
) -> _Plan | None:
    """Return a run of the next seed that the set will have, and no other set; None if none will."""
    model = _repeatable(found, one)
    if one.mixed or model is None:
        return None
    made = {
        some.seed
        for some in (found_run(Run(found.runs_dir / facts.row.run)) for facts in known)
        if some.training == model.training and _is_made(some)
    }
    seed = next((some for some in _seeds(found, one, other) if some not in made), None)
    if seed is None:
        return None
    for word, labels in itertools.product(_words(found, model), _labels(found)):
        name = _name_with(model, seed)
        planned = _Planned(model.run, name, seed, labels)
        if would_take(word, planned, known) and not any(
            would_take(some, planned, known) for some in others
        ):
            return _Plan(word, _train(model, name, seed, labels))
    return None


def _is_made(found: FoundRun) -> bool:
    """Whether a run has ended with a result, or is on its way there."""
    return found.run.status in (*ENDED, "running")


def _repeatable(found: FoundSet, one: RunSet) -> FoundRun | None:
    """Return the newest run that counts and that one command trained."""
    counted = {member.path for member in one.members}
    return next(
        (
            some
            for some in reversed(found.runs)
            if str(some.run.path) in counted
            and some.run.has_overrides
            and some.seed is not None
            and set(some.all_overrides) == set(some.run.overrides)
        ),
        None,
    )


def _seeds(found: FoundSet, one: RunSet, other: RunSet) -> Iterator[int]:
    """Return seeds that the set lacks: those of the other set, or else new ones.

    A set that has all seeds of the other waits until that has its own, so that seeds can be paired.
    """
    ours = {run.seed for run in found.runs if run.seed is not None and _is_made(run)}
    theirs = {member.seed for member in other.members if member.seed is not None}
    mine = {member.seed for member in one.members}
    if theirs - ours or mine - theirs:
        yield from sorted(theirs - ours)
    else:
        yield from itertools.count(max(ours | theirs, default=0) + 1)


def _words(found: FoundSet, model: FoundRun) -> Iterator[str]:
    """Return the word of a set, and wider ones that name no runs of other settings."""
    yield found.name
    wider = []
    if is_condition(found.name):
        wanted = conditions([found.name], where="SET")
        texts = zip(found.name.split(), wanted, strict=False)
        wider.append(" ".join(text for text, one in texts if one.key != "seed"))
    bases = {_base(run) for run in found.runs}
    if len(bases) == 1 and (base := bases.pop()):
        wider.append(f"{base}*")
    for word in wider:
        if word and word != found.name and _is_wider(find_set(word, found.runs_dir), found, model):
            yield word


def _is_wider(wide: FoundSet, found: FoundSet, model: FoundRun) -> bool:
    inside = {one.run.path.resolve() for one in wide.runs}
    return all(one.run.path.resolve() in inside for one in found.runs) and all(
        one.training == model.training for one in wide.runs if one.run.status in ENDED
    )


def _base(found: FoundRun) -> str:
    """Return the name of a run without its seed at the end; empty if it does not end with it.

    The end of `lr0.1` is no seed, nor is that of `a-11` the seed 1.
    """
    end = re.fullmatch(r"(.*[^\d.])(\d+)", found.run.row().name)
    return end[1] if end and end[2] == str(found.seed) else ""


def _name_with(model: FoundRun, seed: int) -> str:
    base = _base(model)
    return f"{base}{seed}" if base else model.run.row().name


def _labels(found: FoundSet) -> Iterator[Labels]:
    """Return what the run may be called, the most likely first.

    Tags that all runs of a set have, and what its word asks for; else those of its newest run.
    """
    labels = [one.run.labels for one in found.runs]
    asked = (
        {one.key for one in conditions([found.name], where="SET")}
        if is_condition(found.name)
        else set[str]()
    )
    shared = tuple(tag for tag in labels[0].tags if all(tag in one.tags for one in labels))
    is_usual = len(labels) > 1 or not asked.isdisjoint({"tag", "tags"})
    notes = {one.note for one in labels}
    note = labels[0].note if len(notes) == 1 and "note" in asked else ""
    yield Labels(shared if is_usual else (), note)
    yield Labels(labels[-1].tags, labels[-1].note if "note" in asked else "")


def _train(model: FoundRun, name: str, seed: int, labels: Labels) -> Command:
    """Return the command that trains as a run did, with another name and seed, and with labels."""
    run = model.run
    words = []
    for word in run.overrides:
        key = word.lstrip("+").partition("=")[0]
        if key == "name":
            words.append(f"name={name}")
        elif key != "seed":
            words.append(word)
    tags = [part for tag in labels.tags for part in ("--tag", tag)]
    note = ["--note", labels.note] if labels.note else []
    options = run.paths.arguments(beside=words)
    return ("gradcli", "train", *options, *tags, *note, *words, f"seed={seed}")


class _Planned(Facts):
    """What will be known of a run that repeats another one, apart from its results."""

    def __init__(self, run: Run, name: str, seed: int, labels: Labels) -> None:
        now = datetime.now().astimezone()
        row = replace(
            run.row(),
            run=f"{now:%Y%m%dT%H%M%SZ}-{name}-0000",
            name=name,
            when=f"{now:%Y-%m-%d %H:%M}",
            test_score=math.nan,
            findings=(),
            tags=labels.tags,
            note=labels.note,
        )
        super().__init__(run, row)
        settings = {**run.state.get("settings", {}), "name": name, "seed": seed}
        self._state = {**run.state, "settings": settings, "result": {}}

    @property
    def state(self) -> Mapping[str, Any]:
        """The content that its state file will have, as far as it is known."""
        return self._state
