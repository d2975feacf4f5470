"""Running a case with its twin, and with what the diagnosis advises. Public functions only."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
    follows_from: str | None = None


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


def run_case(case: Case, keep: Path | None = None) -> Trial:
    """Run a case to its end.

    Args:
        case: which one.
        keep: where its trainings are kept. If they are there already they are not run again, and
            what they recorded is judged anew: rules can be tuned on them in seconds.
    """
    import torch

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="gradcli-")) if keep is None else keep / case.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"train": _train, "own": _own, "fresh": _fresh}[case.kind.way](case, folder)
    except Exception as error:  # a crash of the tool is an answer, and a wrong one
        return Trial((), error=f"{type(error).__name__}: {error}")
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Trained:
    """A training that has run: its run directory and the accuracy it reached."""

    path: str
    level: float


def _once(folder: Path, name: str, train: Callable[[Path], Trained]) -> Trained:
    """Return what `train` returned, now or when it was first called for this folder and name."""
    kept = folder / f"{name}.json"
    if kept.is_file():
        return Trained(**json.loads(kept.read_text()))
    trained = train(folder / "runs")
    kept.write_text(json.dumps(asdict(trained)))
    return trained


def _train(case: Case, folder: Path) -> Trial:
    import gradcli

    training = case.training()

    def trained(name: str, words: list[str]) -> Trained:
        return _once(folder, name, lambda runs_dir: _trained(words, runs_dir))

    fault = trained("fault", training.plan)
    said = _findings(fault.path)
    twin = None if training.twin is None else trained("twin", training.twin).level
    tried, refused = None, ""
    first = next((one for one in said if one.severity != "info"), None)
    if case.kind.is_fault and first is not None and first.override:
        words = with_override(training.plan, first.override)
        try:
            tried = trained(f"try {first.override}".replace("/", "_"), words).level
        except gradcli.UserError as error:
            refused = str(error)
    return Trial(said, fault.level, twin, tried, refused)


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


def _trained(overrides: list[str], runs_dir: Path) -> Trained:
    import gradcli

    run = gradcli.train(*overrides, runs_dir=runs_dir, **OWN)
    evals = [one for one in run.evals if one.step == run.evals[-1].step] if run.evals else []
    # Both splits together, so that a point is ten images and not five.
    level = sum(one.score for one in evals) / len(evals) if evals else 0.0
    return Trained(str(run.path), 0.0 if run.status == "diverged" else level)


def _own(case: Case, folder: Path) -> Trial:
    from diagnosis_corpus.loop import run_loop

    training = case.training()

    def trained(name: str, plan: Callable[[], Any]) -> Trained:
        def train(runs_dir: Path) -> Trained:
            path, level = run_loop(plan(), runs_dir)
            return Trained(str(path), level)

        return _once(folder, name, train)

    fault = trained("fault", training.plan)
    twin = None if training.twin is None else trained("twin", training.twin).level
    return Trial(_findings(fault.path), fault.level, twin)


def _fresh(case: Case, folder: Path) -> Trial:
    import gradcli

    overrides, options = case.training().plan
    return Trial(_said(gradcli.inspect(*overrides, runs_dir=folder, **options, **OWN)))


def _findings(path: str) -> tuple[Said, ...]:
    import gradcli

    return _said(gradcli.inspect(path, runs_dir=Path(path).parent, **OWN))


def _said(inspection: Any) -> tuple[Said, ...]:
    return tuple(
        Said(
            one.code,
            one.severity,
            one.layer,
            f"{one.message} {getattr(one, 'mend', '')}".strip(),
            one.override,
            one.follows_from,
        )
        for one in inspection.findings
    )
