"""Running a case with its twin, and with what the diagnosis advises. Public functions only."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diagnosis_corpus.cases import Case

#: The corpus's own models, which a config may name.
OWN: dict[str, Any] = {
    "config_dir": Path(__file__).resolve().parent / "configs",
    "allow_import": ["diagnosis_corpus"],
}


@dataclass(frozen=True)
class Said:
    """A finding, in what the score needs of it."""

    code: str
    severity: str
    layer: str | None
    message: str
    override: str | None


@dataclass(frozen=True)
class Trial:
    """What came of a case."""

    said: tuple[Said, ...]
    level: float | None = None
    """The accuracy reached, 0 to 1; None where nothing was trained."""
    twin_level: float | None = None
    tried_level: float | None = None
    """With the first finding's override; None if it has none, or it could not be run."""
    try_error: str = ""
    """Why it could not be run."""
    error: str = ""
    """The exception that ended it, if one did."""


def run_case(case: Case) -> Trial:
    """Run a case to its end."""
    import torch

    torch.set_num_threads(1)
    runs_dir = tempfile.mkdtemp(prefix="gradcli-diagnosis-")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"train": _train, "own": _own, "fresh": _fresh}[case.kind.way](case, runs_dir)
    except Exception as error:  # a crash of the tool is an answer, and a wrong one
        return Trial((), error=f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(runs_dir, ignore_errors=True)


def _train(case: Case, runs_dir: str) -> Trial:
    import gradcli

    training = case.training()
    said, level = _trained(training.plan, runs_dir)
    twin = None if training.twin is None else _trained(training.twin, runs_dir)[1]
    tried, refused = None, ""
    first = next((one for one in said if one.severity != "info"), None)
    if case.kind.is_fault and first is not None and first.override:
        try:
            tried = _trained(with_override(training.plan, first.override), runs_dir)[1]
        except gradcli.UserError as error:
            refused = str(error)
    return Trial(said, level, twin, tried, refused)


def with_override(words: list[str], override: str) -> list[str]:
    """Return a command's words with advice in the place of what it replaces.

    As the printed `next` line has it: an option chosen anew takes no key of the one before.
    """
    added = override.split()
    replaced = {word.partition("=")[0] for word in added}

    def stays(word: str) -> bool:
        key = word.partition("=")[0]
        return key not in replaced and key.partition(".")[0] not in replaced

    return [word for word in words if stays(word)] + added


def _trained(overrides: list[str], runs_dir: str) -> tuple[tuple[Said, ...], float]:
    import gradcli

    run = gradcli.train(*overrides, runs_dir=runs_dir, **OWN)
    evals = [one for one in run.evals if one.step == run.evals[-1].step] if run.evals else []
    # Both splits together, so that a point is ten images and not five.
    level = sum(one.accuracy for one in evals) / len(evals) if evals else 0.0
    if run.status == "diverged":
        level = 0.0
    return _findings(run.path, runs_dir), level


def _own(case: Case, runs_dir: str) -> Trial:
    from diagnosis_corpus.loop import run_loop

    training = case.training()
    path, level = run_loop(training.plan(), runs_dir)
    said = _findings(path, runs_dir)
    twin = None if training.twin is None else run_loop(training.twin(), runs_dir)[1]
    return Trial(said, level, twin)


def _fresh(case: Case, runs_dir: str) -> Trial:
    import gradcli

    overrides, options = case.training().plan
    return Trial(_said(gradcli.inspect(*overrides, runs_dir=runs_dir, **options, **OWN)))


def _findings(path: Any, runs_dir: str) -> tuple[Said, ...]:
    import gradcli

    return _said(gradcli.inspect(path, runs_dir=runs_dir, **OWN))


def _said(inspection: Any) -> tuple[Said, ...]:
    return tuple(
        Said(
            one.code,
            one.severity,
            one.layer,
            f"{one.message} {getattr(one, 'mend', '')}".strip(),
            one.override,
        )
        for one in inspection.findings
    )
