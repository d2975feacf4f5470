"""What each limit of the rules decides: how often the diagnosis is wrong at half of it, and twice.

Judges the trainings of the part `tuning` that were kept, again and again, each time with one limit
changed. Nothing is trained, so a limit takes seconds. Those that a limit decides nothing of, within
these factors, are far from it.
"""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from diagnosis import all_kinds

from diagnosis_corpus.cases import Answer, Case
from diagnosis_corpus.scoring import score
from diagnosis_corpus.trial import Said, Trial

#: What `measure` writes, and docs/diagnosis.md shows.
TABLE = Path(__file__).with_name("limit_errors.json")
#: Those that decide what the evidence is; the others are for the rules.
WHILE_GATHERING = frozenset({"SPIKE", "RATE_CHANGE", "NOISY", "BEYOND_CHANCE"})


def kept_cases(folder: Path, every: int) -> list[tuple[Case, float, float | None, str]]:
    """Return every N-th of the kept cases: its level, its twin's, and its run's path."""
    kinds = {(kind.way, kind.name): kind for kind in all_kinds()}
    found = []
    for file in sorted(folder.glob("*/*/tuning/*/fault.json")):
        way, name, _, index = file.parts[-5:-1]
        trained, twin = json.loads(file.read_text()), file.with_name("twin.json")
        level = json.loads(twin.read_text())["level"] if twin.is_file() else None
        kind = kinds[way, name]
        if kind.is_fault == (level is not None):
            case = Case(kind, "tuning", int(index))
            found.append((case, trained["level"], level, trained["path"]))
    return found[::every]


def judge(case: Case, level: float, twin: float | None, evidence: Any, answer: Answer) -> str:
    """Return `missed`, `alarm` or an empty string."""
    from gradcli.diagnosis import diagnose

    said = tuple(
        Said(one.code, one.severity, one.layer, one.message, one.override, one.follows_from)
        for one in diagnose(evidence)
    )
    judged = score(case, Trial(said, level, twin), answer)
    if judged.right is not False:
        return ""
    return "missed" if judged.status == "fault" else "alarm"


def gather(part: list[tuple[Case, float, float | None, str]]) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of `judge` for each case."""
    import gradcli
    from gradcli.inspection.run_summary import gather_evidence

    for case, level, twin, path in part:
        run = gradcli.load_run(path)
        yield case, level, twin, gather_evidence(run, run.steps), case.training().answer


def tally(cases: Iterable[tuple[Any, ...]]) -> list[int]:
    """Return how many are missed, and how many are alarms."""
    said = [judge(*one) for one in cases]
    return [said.count("missed"), said.count("alarm")]


def count(
    first: int, folder: Path, every: int, jobs: int, names: tuple[str, ...]
) -> dict[str, dict[str, list[int]]]:
    """Return for each limit and factor how many are missed, and how many are alarms.

    Of every `jobs`-th case from `first` on.
    """
    from gradcli.diagnosis import limits

    warnings.simplefilter("ignore")
    part = kept_cases(folder, every)[first::jobs]
    known = list(gather(part))
    as_they_are = tally(known)
    table: dict[str, dict[str, list[int]]] = {}
    for name in names:
        limit = getattr(limits, name)
        value = limit.value
        table[name] = {"1": as_they_are}
        for factor in (0.5, 2.0):
            object.__setattr__(limit, "value", value * factor)
            table[name][f"{factor:g}"] = tally(gather(part) if name in WHILE_GATHERING else known)
        object.__setattr__(limit, "value", value)
    return table


def measure(folder: Path, every: int, jobs: int) -> None:
    """Print the errors around each limit, and write them to `TABLE`.

    A line holds the faults whose code or layer is wrong, and the sound trainings of which something
    is said, at half of the limit, at the limit, and at twice it.
    """
    from gradcli.diagnosis import limits

    names = tuple(name for name, one in vars(limits).items() if isinstance(one, limits.Limit))
    cases = kept_cases(folder, every)
    faults = sum(case.kind.is_fault for case, *_ in cases)
    counted = partial(count, folder=folder, every=every, jobs=jobs, names=names)
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        tables = pool.map(counted, range(jobs))
    total = {
        name: {
            factor: [sum(part) for part in zip(*(one[name][factor] for one in tables), strict=True)]
            for factor in ("0.5", "1", "2")
        }
        for name in names
    }
    print(f"{len(cases)} trainings, {faults} with a fault: missed/alarms at 1/2, 1 and 2 times")
    for name in names:
        counts = "   ".join(f"{missed:3}/{alarms:<3}" for missed, alarms in total[name].values())
        print(f"{name:24} {getattr(limits, name).value:<10.4g} {counts}".rstrip())
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(total[name])}" for name in names)
    TABLE.write_text(
        f'{{\n "trainings": {len(cases)},\n "faults": {faults},\n "limits": {{\n{rows}\n }}\n}}\n'
    )
