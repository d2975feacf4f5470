"""How often the diagnosis is right: trainings with planted faults, and sound ones, judged.

The corpus (`diagnosis_corpus/`) draws trainings from seeds: by `gradcli train`, by own loops under
`GradientMonitor`, and models not yet trained. Each faulty one has a twin without the fault. Rules
may be tuned on the part `tuning`; what is published is the part `held`, which has other seeds, and
also architectures and optimizers that `tuning` never uses.

    python benchmarks/diagnosis.py [--part tuning|held] [--ways train,own,fresh] [--kinds WORDS]
        [--faults N] [--healthy N] [--limit N] [--jobs N] [--json FILE] [--list-wrong] [--only CASE]
        [--keep FOLDER] [--calibrate] [--limits] [--every N]

Prints what was right with Wilson intervals, by way and by kind, a table of confusions, and what is
not as wanted; it exits with 1 if anything is not. With `--calibrate` it also writes the table from
which gradcli says how sure a finding is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

from diagnosis_corpus import calibration, scoring, tables
from diagnosis_corpus.cases import Case, Kind, draw_cases, tunable
from diagnosis_corpus.scoring import Score, score
from diagnosis_corpus.trial import Trial, run_case

LEGEND = f"""\
twin:  the same training without the fault
weak:  a fault that costs at most {100 * scoring.TOO_WEAK:g} point of accuracy; scored as a healthy
       training, among the false alarms, but not among those "of sound ones"
void:  its twin, or a sound training itself, stays below {100 * scoring.LEARNS:g}%; not scored
helps: a try comes within {100 * scoring.MARGIN:g} points of the twin
harms: it ends more than {100 * scoring.MARGIN:g} points below the fault
"""

#: The table that the package reads; see `diagnosis_corpus.calibration`.
CERTAINTIES = (
    Path(__file__).resolve().parents[1] / "gradcli" / "diagnosis" / "calibration" / "measured.json"
)

#: How many of each kind of fault, and of sound training, unless a number is given.
OF_EACH_FAULT, OF_EACH_SOUND = 8, 14


@cache
def all_kinds() -> tuple[Kind, ...]:
    from diagnosis_corpus import fresh, loop_faults, loop_settings, sound, train_faults

    return tuple(
        kind
        for source in (train_faults, loop_faults, loop_settings, fresh, sound)
        for kind in source.kinds()
    )


def chosen_kinds(part: str, ways: str, words: str | None) -> list[Kind]:
    kinds = [kind for kind in all_kinds() if kind.way in ways.split(",")]
    if part == "tuning":
        kinds = [kind for kind in kinds if tunable(kind)]
    if words:
        wanted = [word.strip() for word in words.split(",")]
        kinds = [
            kind
            for kind in kinds
            if any(word in f"{kind.way}/{kind.name}" or word in kind.codes for word in wanted)
        ]
    return kinds


def cases_of(arguments: argparse.Namespace) -> list[Case]:
    if arguments.only:
        way, name, part, index = arguments.only.split("/")
        found = [kind for kind in all_kinds() if (kind.way, kind.name) == (way, name)]
        return [Case(kind, part, int(index)) for kind in found]
    kinds = chosen_kinds(arguments.part, arguments.ways, arguments.kinds)
    faulty = sum(kind.is_fault for kind in kinds)
    faults = faulty * OF_EACH_FAULT if arguments.faults is None else arguments.faults
    healthy = arguments.healthy
    if healthy is None:
        healthy = (len(kinds) - faulty) * OF_EACH_SOUND
    return list(draw_cases(kinds, arguments.part, faults, healthy))[: arguments.limit]


def judge(key: tuple[str, str, str, int], keep: Path | None) -> tuple[Trial, Score, float]:
    """Run one case in a worker, which finds it by its key."""
    way, name, part, index = key
    kind = next(one for one in all_kinds() if (one.way, one.name) == (way, name))
    case, began = Case(kind, part, index), time.perf_counter()
    trial = run_case(case, keep)
    return trial, score(case, trial, case.training().answer), time.perf_counter() - began


def describe(trial: Trial) -> str:
    """Return what was said of a case, and how it ended, in a line."""
    if trial.error:
        return trial.error
    said = ", ".join(
        f"{one.code}({one.layer or ''}){' try ' + one.override if one.override else ''}"
        for one in trial.said
    )
    levels = (("level", trial.level), ("twin", trial.twin_level), ("tried", trial.tried_level))
    if trial.try_error:
        said += f" (the try was refused: {trial.try_error.splitlines()[0]})"
    return f"said {said} " + " ".join(f"{name} {at:.2f}" for name, at in levels if at is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("tuning", "held"), default="held")
    parser.add_argument("--ways", default="train,own,fresh")
    parser.add_argument("--kinds", help="words of kinds' names, or codes, with commas between")
    parser.add_argument("--faults", type=int, help="the number of faults; else 8 of each kind")
    parser.add_argument("--healthy", type=int, help="of sound ones; else 14 of each kind")
    parser.add_argument("--limit", type=int, help="run no more than so many")
    parser.add_argument("--only", metavar="CASE", help="one case: way/kind/part/index")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every case there")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep the trainings; judge those kept anew"
    )
    parser.add_argument("--list-wrong", action="store_true")
    parser.add_argument(
        "--limits",
        action="store_true",
        help="judge what --keep has kept with each limit of the rules halved and doubled instead",
    )
    parser.add_argument("--every", type=int, default=1, help="of those, every N-th")
    parser.add_argument(
        "--calibrate", action="store_true", help=f"write {CERTAINTIES.name}, how sure findings are"
    )
    arguments = parser.parse_args()

    if arguments.limits:
        from diagnosis_corpus.limit_errors import measure

        if arguments.keep is None:
            parser.error("--limits judges the trainings that --keep FOLDER has kept")
        measure(arguments.keep, arguments.every, arguments.jobs)
        return 0
    cases = cases_of(arguments)
    keys = [(case.kind.way, case.kind.name, case.part, case.index) for case in cases]
    began, run = time.perf_counter(), partial(judge, keep=arguments.keep)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        results = []
        for case, (trial, judged, seconds) in zip(cases, pool.imap(run, keys), strict=True):
            results.append((case, trial, judged, seconds))
            if sys.stderr.isatty() or len(results) % 50 == 0:
                print(f"{len(results)}/{len(cases)}", file=sys.stderr, flush=True)
    scored = [(case, judged) for case, _, judged, _ in results]
    said = {case.name: describe(trial) for case, trial, _, _ in results}
    print(f"part {arguments.part}: {len(cases)} cases in {time.perf_counter() - began:.0f} s\n")
    print(LEGEND)
    for part in (tables.by_way, tables.by_kind, tables.confusion):
        print("\n".join(part(scored)), end="\n\n")
    if arguments.list_wrong or arguments.only:
        print("\n".join(tables.wrong_cases(scored, said)))
    if arguments.only:
        print("\n".join(f"{name}: {text}" for name, text in said.items()))
    if arguments.json:
        lines = [
            {
                "case": case.name,
                "setting": case.setting,
                "seconds": round(seconds, 2),
                "trial": asdict(trial),
                "score": asdict(judged),
            }
            for case, trial, judged, seconds in results
        ]
        arguments.json.write_text(json.dumps(lines, indent=1))
    if arguments.calibrate:
        judged = [(trial, one, case.training().answer) for case, trial, one, _ in results]
        table = calibration.table(judged, arguments.part)
        CERTAINTIES.write_text(calibration.written(table))
    missed = list(tables.misses(scored))
    print("\n".join(["not as wanted:", *missed]) if missed else "all is as wanted")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
