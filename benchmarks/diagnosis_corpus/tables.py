"""The score as text: by way, by kind, and which code was said of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from diagnosis_corpus.cases import Case
from diagnosis_corpus.scoring import Score, share, wilson

Scored = Sequence[tuple[Case, Score]]

#: What is wanted of the held part: at least so much, and of `UNWANTED` at most.
WANTED = {
    "code and layer": 0.95,
    "root cause first": 0.90,
    "try given": 0.80,
    "try helps": 0.90,
    "mend named": 0.90,
}
UNWANTED = {"false alarms": 0.01, "undetermined": 0.05, "try harms": 0.0}
#: Of each kind alone.
WANTED_OF_KIND = 0.80


def figures(scored: Scored) -> dict[str, tuple[int, int]]:
    """Return each figure as how many of how many."""
    faults = [score for _, score in scored if score.status == "fault"]
    sound = [score for _, score in scored if score.status in ("healthy", "weak")]
    return {
        "code": share(score.code for score in faults),
        "code and layer": share(score.right for score in faults),
        "root cause first": share(score.root_first for score in faults),
        "false alarms": share(score.false_alarm for score in sound),
        "of sound ones": share(score.false_alarm for score in sound if score.status == "healthy"),
        "undetermined": share(score.undetermined for score in sound),
        "try given": share(score.try_given for score in faults),
        "try helps": share(score.try_helps for score in faults),
        "try harms": share(score.try_harms for score in faults),
        "mend named": share(score.mend for score in faults),
    }


def percent(right: int, of: int) -> str:
    """Return a share with its Wilson interval."""
    if not of:
        return "-"
    low, high = wilson(right, of)
    return f"{100 * right / of:.1f}% ({right}/{of}, {100 * low:.1f} to {100 * high:.1f})"


def by_way(scored: Scored) -> Iterator[str]:
    """Yield the figures of each way."""
    for way in ("train", "own", "fresh", "all"):
        chosen = [(case, score) for case, score in scored if way in (case.kind.way, "all")]
        if not chosen:
            continue
        states = Counter(score.status for _, score in chosen)
        counts = ", ".join(f"{states[one]} {one}" for one in ("fault", "healthy", "weak", "void"))
        yield f"{way}: {counts}"
        for name, (right, of) in figures(chosen).items():
            if of:
                wanted = f"  wanted {100 * WANTED[name]:g}%" if name in WANTED else ""
                wanted += f"  at most {100 * UNWANTED[name]:g}%" if name in UNWANTED else ""
                yield f"  {name:17} {percent(right, of):34}{wanted}".rstrip()


def misses(scored: Scored) -> Iterator[str]:
    """Yield a line for each figure of `train` and of own loops that is not as wanted."""
    for way in ("train", "own"):
        chosen = [(case, score) for case, score in scored if case.kind.way == way]
        for name, (right, of) in figures(chosen).items():
            if of and (right / of < WANTED.get(name, 0) or right / of > UNWANTED.get(name, 1)):
                yield f"{way}: {name} {percent(right, of)}"
        for kind in dict.fromkeys(case.kind for case, _ in chosen if case.kind.is_fault):
            faults = (score for case, score in chosen if case.kind == kind)
            right, of = share(score.right for score in faults if score.status == "fault")
            if of and right / of < WANTED_OF_KIND:
                yield f"{way}: {kind.name} {percent(right, of)}"


def by_kind(scored: Scored) -> Iterator[str]:
    """Yield a line for each kind: how often it was right, and what was said first instead."""
    kinds = list(dict.fromkeys(case.kind for case, _ in scored))
    for kind in kinds:
        own = [score for case, score in scored if case.kind == kind]
        counted = [one for one in own if one.status in ("fault", "healthy")]
        wrong = Counter(one.first for one in counted if not one.right or one.root_first is False)
        left = Counter(one.status for one in own if one.status in ("weak", "void"))
        said = ", ".join(f"{code} {count}" for code, count in wrong.most_common(4))
        notes = [f"{count} {status}" for status, count in left.items()]
        name = f"{kind.way} {kind.name}"
        right = percent(*share(one.right for one in counted))
        yield f"{name:32} {right:34} {'; '.join([*notes, *([said] if said else [])])}".rstrip()


def confusion(scored: Scored) -> Iterator[str]:
    """Yield a line for each planted code, with the codes that were said first."""
    rows: dict[str, Counter[str]] = {}
    for case, score in scored:
        if score.status != "void":
            planted = case.kind.codes[0] if score.status == "fault" else "healthy"
            rows.setdefault(planted, Counter())[score.first] += 1
    for planted, said in sorted(rows.items()):
        yield f"{planted:24} " + ", ".join(f"{code} {count}" for code, count in said.most_common())


def wrong_cases(scored: Scored, said: dict[str, str]) -> Iterator[str]:
    """Yield a line for each case that was judged wrongly."""
    for case, score in scored:
        missed = score.right is False or score.root_first is False or score.mend is False
        if missed or score.try_helps is False or score.try_given is False:
            faults = [
                name
                for name in ("code", "layer", "root_first", "mend", "try_given", "try_helps")
                if getattr(score, name) is False
            ]
            yield f"{case.name} {'/'.join(case.setting)} [{score.status}] " + (
                f"wrong: {', '.join(faults) or 'alarm'}; {said[case.name]}"
            )
