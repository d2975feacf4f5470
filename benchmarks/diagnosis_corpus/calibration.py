"""From what was said of the corpus to how often each finding is right. Pure functions.

Counted per training: a code that is said of two layers of one training is said once, and right if
it fits both. Findings that follow from another one, and remarks, are not counted, except
`healthy`: said if it is the verdict, and right of a sound training and of a fault too weak to
matter.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from diagnosis_corpus.cases import Answer
from diagnosis_corpus.scoring import Score, names_layer
from diagnosis_corpus.trial import Said, Trial

#: A training, what was said of it, what it was scored as, and what is right.
Judged = tuple[Trial, Score, Answer]


def count_findings(judged: Iterable[Judged]) -> dict[str, tuple[int, int]]:
    """Return in how many trainings each code was right, and was said."""
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for trial, scored, answer in judged:
        if scored.status == "void" or trial.error:
            continue
        faulty = scored.status == "fault"
        causes = [one for one in trial.said if one.severity != "info" and not one.follows_from]
        for code in {one.code for one in causes}:
            same = [one for one in causes if one.code == code]
            said[code] += 1
            right[code] += faulty and all(fits(one, answer) for one in same)
        if scored.first == "healthy" and any(one.code == "healthy" for one in trial.said):
            said["healthy"] += 1
            right["healthy"] += not faulty
    return {code: (right[code], said[code]) for code in sorted(said)}


def fits(said: Said, answer: Answer) -> bool:
    """Return whether a finding is an answer to the planted fault, and names its layer."""
    return said.code in answer.codes and names_layer(said.layer, answer.layers)


def table(judged: Iterable[Judged], part: str) -> dict[str, object]:
    """Return what the package keeps: the counts, and the mix they were measured at."""
    known = list(judged)
    states = Counter(scored.status for _, scored, _ in known)
    return {
        "part": part,
        "cases": {name: states[name] for name in ("fault", "healthy", "weak", "void")},
        "codes": {code: list(counts) for code, counts in count_findings(known).items()},
    }


def written(table: dict[str, object]) -> str:
    """Return the table as JSON, each code on a line of its own."""
    text = json.dumps(table, indent=1)
    return re.sub(r"\[\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2]", text) + "\n"
