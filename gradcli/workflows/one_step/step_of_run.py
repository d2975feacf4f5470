"""One step of a run, looked at example by example: from its number to what was found."""

from __future__ import annotations

import math
import shlex

import numpy as np

from gradcli.errors import UserError
from gradcli.inspection.one_step.neighbours import neighbours
from gradcli.inspection.one_step.step_inspection import (
    MOST_SHOWN,
    Leading,
    StepExample,
    StepInspection,
    leading_count,
    ranking,
)
from gradcli.inspection.one_step.suspicion import NOT_SURE, Suspicions
from gradcli.probes.measuring.batch_examples import BatchExamples, ExampleMeasures, batch_norm_of
from gradcli.runs import Run
from gradcli.system.paths import Paths
from gradcli.views.inspect.replay_progress import ReplayProgress
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.one_step.shown_examples import ShownBatch, shown_batch
from gradcli.workflows.one_step.step_replay import ReplayedStep, refuse_no_such_step, replayed

#: The share of the loss by which the mean over single examples may differ from the batch's before
#: that is said: rounding is a thousandth of it.
_ADDS_UP = 1e-3


def inspect_step_of(
    run: Run, step: int, paths: Paths, view: TrainView, progress: ReplayProgress
) -> StepInspection:
    """Make a step of a run again, and measure each example of its batch.

    Args:
        run: what was trained.
        step: its number, from 1.
        paths: where runs, data and configs are.
        view: shows a download.
        progress: shows how far it is.

    Raises:
        UserError: if the run has no such step, was trained in the user's own loop, or its config or
            its data is not as it was.
    """
    if run.info.is_own_loop:
        raise UserError(
            f"{run.name} was trained in a loop of your own, so gradcli cannot make its steps "
            "again: it knows neither the batches nor the model.",
            where="--step",
            hint=f"gradcli inspect-gradients {shlex.quote(str(run.path))}",
        )
    refuse_no_such_step(run, step)
    with replayed(run, step, paths, view, progress) as made:
        return _inspected(run, step, made, paths, progress)


def _inspected(
    run: Run, step: int, made: ReplayedStep, paths: Paths, progress: ReplayProgress
) -> StepInspection:
    trainer, batch = made.trainer, made.batch
    passes, objective = trainer.plan.passes, trainer.objective
    of_batch = BatchExamples(
        trainer.model,
        batch.inputs,
        batch.targets,
        loss=objective.loss,
        terms=objective.terms,
        micro_batch_size=passes.micro_batch_size,
        autocast=passes.autocast,
        announce=progress.example,
    )
    measures = of_batch.measure()
    order = ranking(measures.losses, measures.grad_norms)
    leading = _leading(of_batch, measures, order)
    shown = shown_batch(made, measures.outputs)
    examples = _examples(made, measures, order, shown)
    finite = measures.grad_norms[np.isfinite(measures.grad_norms)]
    return StepInspection(
        target=shlex.quote(str(run.path)),
        run=run.name,
        model=run.info.model,
        data=run.info.data.name,
        step=step,
        epoch=made.epoch,
        batch_in_epoch=made.number + 1,
        examples=examples,
        loss=measures.loss,
        grad_norm=measures.grad_norm,
        median_norm=float(np.median(finite)) if len(finite) else math.nan,
        leading=leading,
        neighbours=neighbours(run.steps, run.layers, step),
        replay=made.replay,
        measured=_how_measured(made, measures),
        notes=made.notes,
        kind_of_data=shown.kind,
        path_arguments=tuple(paths.completed_by(run.paths).arguments(runs=False)),
    )


def _leading(of_batch: BatchExamples, measures: ExampleMeasures, order: list[int]) -> Leading:
    shares = measures.shares[order]
    if not np.isfinite(shares).all():
        broken = ~np.isfinite(measures.losses + measures.grad_norms)
        return Leading(int(broken.sum()), math.nan, measures.norm_of_finite)
    count = leading_count(shares.tolist())
    first = order[:count]
    return Leading(count, float(shares[:count].sum()), of_batch.norm_without(first))


def _examples(
    made: ReplayedStep, measures: ExampleMeasures, order: list[int], shown: ShownBatch
) -> tuple[StepExample, ...]:
    """Return the examples in the order of the ranking; the first are judged, with their picture."""
    indices = made.batch.examples.cpu().tolist()
    suspicions = Suspicions(shown.values())
    examples = []
    for rank, place in enumerate(order):
        is_shown = rank < MOST_SHOWN
        prediction, probability = shown.prediction(place)
        examples.append(
            StepExample(
                place=place,
                index=indices[place] if indices else None,
                loss=float(measures.losses[place]),
                grad_norm=float(measures.grad_norms[place]),
                share=float(measures.shares[place]),
                row=shown.row(indices[place]) if indices else None,
                file=shown.file(indices[place]) if indices else "",
                label=shown.label(place),
                prediction=prediction,
                probability=probability,
                content=shown.content(place) if is_shown else "",
                suspicion=suspicions.of(place) if is_shown else NOT_SURE,
                picture=shown.picture(place) if is_shown else None,
            )
        )
    return tuple(examples)


def _how_measured(made: ReplayedStep, measures: ExampleMeasures) -> str:
    """Say what of the model or the loss ties the examples of a batch together."""
    said = []
    if coupling := batch_norm_of(made.trainer.model):
        said.append(
            f"{coupling} is a batch norm: the loss of each example depends on the others of the "
            "batch. Measured is the gradient of its own loss, with the statistics of the whole "
            "batch; what it changes in the losses of others counts as theirs."
        )
    elif not math.isfinite(measures.grad_norm):
        said.append("The gradient is not finite, so the examples were passed one by one.")
    apart = abs(measures.mean_of_losses - measures.loss)
    if apart > _ADDS_UP * max(abs(measures.loss), 1e-12):
        said.append(
            "The loss of the batch is not the mean of the losses of its examples, taken one by "
            "one: the shares need not add up to 100%."
        )
    return " ".join(said)
