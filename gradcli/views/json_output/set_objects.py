"""A comparison of sets of runs as a JSON object."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradcli.views.json_output.json_values import SCHEMA, jsonable

if TYPE_CHECKING:
    from gradcli.comparison.run_sets import RunSet, RunSetComparison
    from gradcli.comparison.statistics.set_tests import SetPair


def run_sets_json(comparison: RunSetComparison) -> dict[str, Any]:
    """Return a comparison of sets of runs, as `runs compare --json` prints it."""
    written: dict[str, Any] = jsonable(
        {
            "schema": SCHEMA,
            "by": comparison.by,
            "metric": asdict(comparison.metric),
            "pairing": comparison.pairing,
            "sets": [_run_set(one) for one in comparison.sets],
            "pairs": [_set_pair(one) for one in comparison.pairs],
            "cautions": comparison.cautions,
            "next": [shlex.join(one) for one in comparison.next_commands],
        }
    )
    return written


def _run_set(one: RunSet) -> dict[str, Any]:
    return {
        "set": one.name,
        "rank": one.rank,
        "mean": one.score.mean,
        "std": one.score.std,
        "ci95": one.score.ci95,
        "diverged": one.diverged,
        "runs": [asdict(member) for member in one.members],
        "left_out": [{"run": run, "reason": reason} for run, reason in one.left_out.items()],
        "settings": one.settings,
        "mixed": one.mixed,
    }


def _set_pair(pair: SetPair) -> dict[str, Any]:
    result = pair.result
    return {
        "a": result.a,
        "b": result.b,
        "paired": pair.is_paired,
        "runs": pair.runs,
        "difference": result.difference,
        "ci95": result.ci95,
        "holm_interval": result.holm_interval,
        "p_adjusted": result.p_adjusted,
        "verdict": result.verdict,
        "evidence": result.evidence,
        "runs_needed": result.seeds_needed,
    }
