"""The summary of a run: the numbers of its closing screen and of `--json`.

Everything is read from the run directory, so that the command that trained and a later one show
the same numbers. Memory is bounded, however long the run was.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gradcli.diagnosis import (
    Evidence,
    Probed,
    ThroughTime,
    collect_evidence,
    diagnose,
)
from gradcli.diagnosis.evidence import matrix_layers
from gradcli.inspection.clip_outlook import clip_outlook
from gradcli.inspection.group_summary import norm_by_group, places_of_groups, rates_of_groups
from gradcli.notation import numbers
from gradcli.probes.hidden_states import HIDDEN_STATES
from gradcli.probes.noise import NOISE
from gradcli.probes.signals import SIGNALS
from gradcli.records import (
    PHASES,
    Floats,
    GroupSummary,
    LayerInfo,
    LayerSummary,
    MetricScores,
    NormSummary,
    ProbeRecord,
    Status,
    StepRecords,
    TrainSummary,
    last_score,
    norm_by_layer,
    was_clipped,
)
from gradcli.runs import Run
from gradcli.runs.files import number
from gradcli.runs.logs.log_blocks import STEPS_FILE

# A long run is read in blocks that stay in a processor's cache.
_ROWS_AT_ONCE = 5_000


def summarise_run(
    run: Run, evidence: Evidence | None = None, *, status: Status | None = None
) -> TrainSummary:
    """Summarise a run, whatever its status.

    Args:
        run: the run.
        evidence: what `gather_evidence` returned for it; None gathers it.
        status: with which it ends, if that is not stored yet.

    Raises:
        UserError: if the process ended before the model was built.
    """
    info, state, ending = run.info, run.state, status or run.status
    norms = _NormColumns(run.layers, places_of_groups(run))
    norms.add_all(run.steps)
    steps = _steps_made(run)
    last = run.layer_records[-1] if run.layer_records else None
    # An extended run was tested before, with other weights than it has now.
    tested = [one for one in run.evals if one.step == steps]
    if evidence is None:
        evidence = gather_evidence(run, run.steps)
    phases = {name: number(value) for name, value in state.get("phase_seconds", {}).items()}
    timed = sum(phases.values())
    seconds_train = number(state.get("seconds_train", math.nan))
    return TrainSummary(
        info=info,
        path=str(run.path),
        status=ending,
        epochs=state.get("progress", {}).get("epochs", 0),
        steps=steps,
        train_loss=_train_loss(run, ending),
        val_score=last_score(run.evals, "val"),
        test_score=last_score(tested, "test"),
        seconds_total=number(state.get("seconds_total", math.nan)),
        seconds_first_step=number(state.get("seconds_first_step", math.nan)),
        seconds_train=seconds_train,
        steps_per_second=steps / seconds_train if seconds_train else math.nan,
        phases={phase: phases.get(phase, 0.0) / timed if timed else 0.0 for phase in PHASES},
        clipped_fraction=norms.clipped_fraction,
        layers=tuple(
            LayerSummary(
                name=layer.name,
                grad_norm_before_clip=norms.before.of_column(index),
                grad_norm_after_clip=norms.after.of_column(index),
                clipped_fraction=norms.clipped_fraction_of_column(index),
                weight_norm=last.weight_norm[index] if last else math.nan,
                update_ratio=last.update_ratio[index] if last else math.nan,
            )
            for index, layer in enumerate(run.layers)
        ),
        findings=diagnose(evidence),
        fault=run.fault,
        notes=(*_notes_on_damage(run, steps), *_notes_on_scores(run)),
        steps_are_damaged=bool(_notes_on_damage(run, steps)),
        clip_outlook=clip_outlook(run.steps.grad_norm_before_clip),
        groups=tuple(
            GroupSummary(group, *rates, norms.of_groups.of_column(index))
            for index, (group, rates) in enumerate(
                zip(info.groups, rates_of_groups(run), strict=True)
            )
        ),
        further=tuple(
            MetricScores(
                metric,
                val=last_score(run.evals, "val", metric.name),
                test=last_score(tested, "test", metric.name),
            )
            for metric in info.further_metrics
        ),
        tags=run.labels.tags,
        note=run.labels.note,
    )


def gather_evidence(run: Run, steps: StepRecords) -> Evidence:
    """Return the evidence on a run: its records, and its probes after the last step.

    Args:
        run: the run.
        steps: all its steps, or only the last of them.
    """
    evidence = collect_evidence(
        run.info, steps, run.layer_records, run.evals, run.fault, run.setup, run.first_setup
    )
    calls = run.state.get("calls", {})
    evidence = replace(
        evidence,
        setups=run.setups,
        is_whole=run.status == "running" or not _steps_are_damaged(run),
        calls_since_update=calls.get("since_update", 0),
        calls_per_update=1 + calls.get("most_before_update", 0),
        processes=run.state.get("processes", 1),
    )
    last = {one.probe: one for one in run.probe_records if one.step == _steps_made(run)}
    return evidence.with_probed(_probed(last, run.layers))


def _probed(records: dict[str, ProbeRecord], layers: tuple[LayerInfo, ...]) -> Probed | None:
    """Return what the probes of one step found in the layers; None if `signals` did not run."""
    made = {name: record for name, record in records.items() if not record.refused}
    if SIGNALS.name not in made:
        return None
    signals = [made[SIGNALS.name].result["layers"][index] for index in matrix_layers(layers)]
    kinds = {layer.name: layer.kind for layer in layers}
    noise, states = made.get(NOISE.name), made.get(HIDDEN_STATES.name)
    return Probed(
        dead_fraction=np.array(
            [one["dead_units"] / one["units"] if one["units"] else math.nan for one in signals]
        ),
        saturated_fraction=np.array(
            [one["saturated_fraction"] if one["saturates"] else math.nan for one in signals]
        ),
        frozen=tuple(math.isnan(one["weight_grad_norm"]) for one in signals),
        noise_scale=None if noise is None else (noise.value, noise.low, noise.high),
        through_time=None
        if states is None
        else tuple(
            # A layer that reads backwards has its first time step at the end.
            ThroughTime(
                one["module"],
                np.array(one["hidden"][::-1] if one["reverse"] else one["hidden"]),
                kinds[one["module"]] in ("GRU", "LSTM"),
            )
            for one in states.result
        ),
    )


def _notes_on_scores(run: Run) -> Iterator[str]:
    """Say that no evaluation has a score, though the loss is a number: then the metric has none."""
    evals = [one for one in run.evals if one.split == "val"]
    unknown = evals and all(math.isnan(one.score) for one in evals)
    if unknown and any(math.isfinite(one.loss) for one in evals):
        yield (
            f"{run.info.metric.name} was not a number (NaN) at any of "
            f"{numbers.count(len(evals), 'evaluation')} on validation: no epoch could be chosen "
            "by it."
        )


def _notes_on_damage(run: Run, steps: int) -> tuple[str, ...]:
    """Say how much is left of a log of steps that is damaged."""
    if run.status == "running" or not _steps_are_damaged(run):
        return ()
    if not len(run.steps):
        return (f"The log of steps is damaged: none of its rows can be read, of {steps:,} steps.",)
    rows, last = numbers.count(len(run.steps), "row"), numbers.count(int(run.steps.step[-1]))
    return (
        f"The log of steps is damaged: {rows} can be read, the last one of step {last} of "
        f"{steps:,}. What is said of the steps is said of those.",
    )


def _steps_are_damaged(run: Run) -> bool:
    return any(STEPS_FILE in problem for problem in run.damage)


def _steps_made(run: Run) -> int:
    """Return the number of updates that a run has made, as far as it is recorded."""
    logged = int(run.steps.step[-1]) if len(run.steps) else 0
    fault = run.fault
    if fault is not None and fault.step + (fault.phase == "update") == logged:
        logged -= 1  # the last logged step made no update
    noted: int = run.state.get("progress", {}).get("steps", 0)
    return max(logged, noted)


@dataclass
class _Columns:
    """The first, last, summed and largest values of L columns, added in blocks of rows."""

    first: Floats | None = None
    last: Floats | None = None
    total: Floats | None = None
    largest: Floats | None = None
    rows: int = 0

    def add(self, block: NDArray[np.float64]) -> None:
        """Add a block of rows (n, L). A NaN makes the sum and the maximum NaN."""
        total, largest = block.sum(axis=0), block.max(axis=0)
        self.first = block[0] if self.first is None else self.first
        self.last = block[-1]
        self.total = total if self.total is None else self.total + total
        self.largest = largest if self.largest is None else np.maximum(self.largest, largest)
        self.rows += len(block)

    def of_column(self, index: int) -> NormSummary:
        """Summarise one column; NaN if no row was added."""
        columns = (self.first, self.last, self.total, self.largest)
        first, last, total, largest = (
            math.nan if column is None else float(column[index]) for column in columns
        )
        return NormSummary(first, last, total / max(1, self.rows), largest)


@dataclass
class _NormColumns:
    """The norms of the layers before and after clipping, and of the parameter groups before it."""

    layers: tuple[LayerInfo, ...]
    places: Sequence[Sequence[int]] = ()
    """The parameters of each group."""
    of_groups: _Columns = field(default_factory=_Columns)
    before: _Columns = field(default_factory=_Columns)
    after: _Columns = field(default_factory=_Columns)
    clipped: int = 0
    clipped_by_layer: NDArray[np.int64] | None = None

    def add_all(self, steps: StepRecords) -> None:
        """Add every step, one block at a time."""
        for start in range(0, len(steps), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            before = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], self.layers)
            after = norm_by_layer(steps.parameter_grad_norm_after_clip[rows], self.layers)
            self.before.add(before)
            self.of_groups.add(
                norm_by_group(steps.parameter_grad_norm_before_clip[rows], self.places)
            )
            self.after.add(after)
            self.clipped += int(was_clipped(steps.clip_coefficient[rows]).sum())
            by_layer = was_clipped(after, before).sum(axis=0)
            self.clipped_by_layer = (
                by_layer if self.clipped_by_layer is None else self.clipped_by_layer + by_layer
            )

    @property
    def clipped_fraction(self) -> float:
        """The fraction of steps whose global norm was reduced."""
        return self.clipped / self.before.rows if self.before.rows else 0.0

    def clipped_fraction_of_column(self, index: int) -> float:
        """The fraction of steps in which the norm of the layer was reduced."""
        if self.clipped_by_layer is None:
            return 0.0
        return float(self.clipped_by_layer[index]) / self.before.rows


def _train_loss(run: Run, status: Status) -> float:
    """The mean training loss of the last epoch, or of the steps since the last evaluation."""
    if run.fault is not None and status != "finished":
        return run.fault.loss
    known = [record.train_loss for record in run.evals if not math.isnan(record.train_loss)]
    if known:
        return known[-1]
    return float(np.mean(run.steps.loss)) if len(run.steps) else math.nan
