"""What each limit of the rules decides: how often the diagnosis is wrong at half of it, and twice.

Judges the trainings that `benchmarks/diagnosis.py --keep FOLDER` has kept, again and again, each
time with one limit changed. Nothing is trained, so a limit takes seconds.

    python benchmarks/limits.py FOLDER [--only NAMES] [--every N] [--jobs N] [--write]

Prints a line per limit: faults whose code or layer is wrong, and sound trainings of which something
is said, at half of the limit, at the limit, and at twice it. A limit that changes nothing within
these factors is far from every training of the corpus. `--write` stores the table in the package.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from diagnosis import all_kinds
from diagnosis_corpus.cases import Answer, Case
from diagnosis_corpus.scoring import score
from diagnosis_corpus.trial import Said, Trial

FACTORS = (0.5, 1.0, 2.0)
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
    table: dict[str, dict[str, list[int]]] = {}
    for name in names:
        limit = getattr(limits, name)
        value = limit.value
        for factor in FACTORS:
            if factor == 1 and table:
                table.setdefault(name, {})["1"] = next(iter(table.values()))["1"]
                continue
            object.__setattr__(limit, "value", value * factor)
            cases = list(gather(part)) if name in WHILE_GATHERING and factor != 1 else known
            said = [judge(*one) for one in cases]
            table.setdefault(name, {})[f"{factor:g}"] = [said.count("missed"), said.count("alarm")]
        object.__setattr__(limit, "value", value)
    return table


def main() -> None:
    from gradcli.diagnosis import limits

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="names of limits, with commas between")
    parser.add_argument("--every", type=int, default=1, help="judge every N-th training")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="store the table in the package")
    arguments = parser.parse_args()

    names = tuple(name for name, one in vars(limits).items() if isinstance(one, limits.Limit))
    if arguments.only:
        names = tuple(arguments.only.split(","))
    cases = kept_cases(arguments.folder, arguments.every)
    counted = partial(
        count,
        folder=arguments.folder,
        every=arguments.every,
        jobs=arguments.jobs,
        names=names,
    )
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        tables = pool.map(counted, range(arguments.jobs))
    faults = sum(case.kind.is_fault for case, *_ in cases)
    print(f"{len(cases)} trainings, {faults} with a fault: missed/alarms at 1/2, 1 and 2 times")
    total = {
        name: {
            factor: [
                sum(numbers) for numbers in zip(*(t[name][factor] for t in tables), strict=True)
            ]
            for factor in tables[0][name]
        }
        for name in names
    }
    for name in names:
        counts = "   ".join(f"{missed:3}/{alarms:<3}" for missed, alarms in total[name].values())
        print(f"{name:24} {getattr(limits, name).value:<10.4g} {counts}")
    if arguments.write:
        from gradcli.diagnosis import calibration

        file = Path(calibration.__file__).with_name("limits.json")
        if arguments.only:
            total = {**json.loads(file.read_text())["limits"], **total}
        known = {"trainings": len(cases), "faults": faults, "limits": total}
        file.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
