"""The advice of an inspection, tried: two short trainings of the run's config, with and without it.

Both are the first steps of whole runs, with the seed, the batches, the schedule and the clipping
of these. Nothing is written: the inspected run stays as it is, no run directory is made, and an
interruption leaves nothing behind.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import replace

import torch

from gradcli.config import Composed, changed, load_config
from gradcli.data import Dataset
from gradcli.errors import UserError
from gradcli.inspection.advice_trial import AdviceTrial, TrialScore, judged, steps_of_trial
from gradcli.inspection.inspection import Inspection
from gradcli.records import Finding, StepRecords
from gradcli.runs import Run
from gradcli.system.paths import Paths
from gradcli.training import Trainer
from gradcli.views.findings import by_severity, with_override
from gradcli.views.inspect.trial_progress import TrialProgress
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import (
    built_trainer,
    failures_in_words,
    obtain_data,
    obtain_data_of,
)
from gradcli.workflows.preflight import remarks_before_training

#: The keys of a finding's evidence that hold the step at which something happened.
_STEP_KEYS = ("step", "at_step", "since_step")
_WITHOUT, _WITH = "as it was", "with the advice"


def try_advice(
    run: Run,
    inspection: Inspection,
    paths: Paths,
    view: TrainView,
    progress: TrialProgress,
    steps: int | None,
) -> AdviceTrial:
    """Try the first advice that an inspection of a run gives.

    Args:
        run: what was inspected.
        inspection: its findings have the advice.
        paths: where runs, data and configs are.
        view: shows a download.
        progress: shows the trainings.
        steps: how many each training has; None lets `steps_of_trial` decide.

    Raises:
        UserError: if the run's own config cannot be trained any more, it has no validation
            examples, or fewer steps than asked for. What is wrong with the advice is in the result.
    """
    finding = _first_advice(inspection)
    if finding is None or finding.override is None:
        return AdviceTrial("nothing-to-try", reason=_why_nothing(inspection))
    where = str(run.path / "config.yaml")
    composed = load_config(run.config, where=where, allow_import=paths.allow_import)
    trial = AdviceTrial(
        "refused",
        code=finding.code,
        override=finding.override,
        seed=composed.config.seed,
        command=_command(run, finding.override, paths),
    )
    dataset = obtain_data_of(run, composed.config.data, paths, view.download)
    trial = replace(trial, metric=dataset.objective.metric)
    if not dataset.info.val:
        raise UserError(
            f"{run.name} has no validation examples, and a trial is never judged by the test set.",
            where="data.val",
            hint=f"gradcli inspect-gradients {run.path}",
        )
    total = _total_steps(composed, dataset)
    length = _length(run, inspection, finding, total, steps)
    try:
        advised, its_data, its_total = _advised(run, composed, dataset, finding, paths, view)
    except UserError as error:
        return replace(trial, reason=error.problem)
    without = _trained(composed, dataset, length, progress, _WITHOUT)
    # The same share of the training: advice about the batches changes how many steps that is.
    share = max(1, round(length * its_total / total))
    try:
        with_advice = _trained(advised, its_data, share, progress, _WITH)
    except UserError as error:
        place = f" ({error.where})" if error.where else ""
        return replace(trial, reason=f"{error.problem}{place}")
    trial = replace(trial, steps=length, examples=dataset.info.val)
    return judged(trial, without, with_advice)


def _advised(
    run: Run,
    composed: Composed,
    dataset: Dataset,
    finding: Finding,
    paths: Paths,
    view: TrainView,
) -> tuple[Composed, Dataset, int]:
    """Return the config with the advice, its data, and the updates of the whole run.

    Raises:
        UserError: if the config does not take the advice, or cannot be trained with it.
    """
    advised = changed(
        composed,
        shlex.split(finding.override or ""),
        config_dir=paths.completed_by(run.paths).config_dir,
        allow_import=paths.allow_import,
    )
    data_dir = None if paths.data_dir is None else paths.absolute(paths.data_dir)
    data = obtain_data(advised.config.data, data_dir, view.download)
    if data.info.sha256 != dataset.info.sha256:
        raise UserError("it changes the examples, so there is nothing to compare by.")
    remarks_before_training(advised, data)  # an error if it cannot be trained on the data
    return advised, data, _total_steps(advised, data)


def _first_advice(inspection: Inspection) -> Finding | None:
    """Return the first finding that has an override, remarks left out."""
    for finding in by_severity(inspection.findings):
        if finding.severity != "info" and finding.override:
            return finding
    return None


def _why_nothing(inspection: Inspection) -> str:
    """Say why there is nothing to try, and what to do instead if it is known."""
    serious = [one for one in by_severity(inspection.findings) if one.severity != "info"]
    if not serious:
        return "no finding asks for a change"
    if inspection.is_own_loop:
        why = "the run was trained in a loop of your own, which gradcli cannot repeat"
    else:
        why = f"no override mends {serious[0].code}"
    mend = next((one.mend for one in serious if one.mend), "")
    return f"{why}. What to change: {mend}".rstrip(".") if mend else why


def _command(run: Run, override: str, paths: Paths) -> tuple[str, ...]:
    if not run.has_overrides:
        return ()
    places = replace(paths.completed_by(run.paths), runs_dir=run.paths.runs_dir)
    options = places.arguments(beside=run.overrides)
    return ("gradcli", "train", *options, *with_override(run.overrides, override))


def _length(
    run: Run, inspection: Inspection, finding: Finding, total: int, wanted: int | None
) -> int:
    """Return the steps of the trial.

    Raises:
        UserError: if the run has fewer than are wanted.
    """
    if wanted is not None and wanted > total:
        raise UserError(
            f"{run.name} has {total:,} steps, so a trial cannot have {wanted:,}.",
            where="--try-steps",
            hint=f"--try-steps {total}",
        )
    return wanted or steps_of_trial(inspection.step, total, _event_step(inspection, finding))


def _event_step(inspection: Inspection, finding: Finding) -> int:
    """Return the last step at which the finding, or what follows from it, saw something happen."""
    concerned = [
        one for one in inspection.findings if one is finding or one.follows_from == finding.code
    ]
    steps = [one.evidence[key] for one in concerned for key in _STEP_KEYS if key in one.evidence]
    if inspection.status == "diverged":
        steps.append(inspection.step)
    return max((int(step) for step in steps), default=0)


def _total_steps(composed: Composed, dataset: Dataset) -> int:
    """Return the updates of the whole run.

    The trainer is built for it: what cannot be built is then known before anything is trained.

    Raises:
        UserError: if it cannot be built.
    """
    with built_trainer(composed, dataset) as trainer:
        return trainer.total_steps


def _trained(
    composed: Composed, dataset: Dataset, steps: int, progress: TrialProgress, label: str
) -> TrialScore:
    """Make the first steps of a run, and evaluate the model on the validation examples.

    Raises:
        UserError: if the config cannot be trained, or the user's own code raises an exception.
    """
    with built_trainer(composed, dataset) as trainer:
        torch.set_num_threads(trainer.plan.threads)
        progress.begin(label, steps)
        with failures_in_words(trainer):
            score = _score(trainer, steps, progress)
    progress.end(score)
    return score


def _score(trainer: Trainer, steps: int, progress: TrialProgress) -> TrialScore:
    # Until the last step is yielded, and not further: the run would go on to its evaluations.
    for record in trainer.run(steps, flush_at={steps}):
        if isinstance(record, StepRecords):
            progress.step(trainer.step, float(record.loss[-1]) if len(record) else math.nan)
            if trainer.step >= steps:
                break
    score = TrialScore(trainer.step, trainer.total_steps, math.nan, math.nan)
    if trainer.fault is not None:
        return replace(score, diverged_at=trainer.fault.step)
    found = trainer.evaluate("val")
    if math.isnan(found.loss):  # the last update has ruined the weights
        return replace(score, diverged_at=trainer.step)
    each = None if found.example_scores is None else found.example_scores.cpu().numpy()
    return replace(score, score=found.score, loss=found.loss, example_scores=each)
