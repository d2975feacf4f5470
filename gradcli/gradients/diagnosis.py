"""From numbers to findings: what the gradients of a run say is wrong, and what to try.

Each rule is a function from the evidence of a run to findings, and stands in `RULES` at the
end. Rules compare layers with one another and gradients with weights; none asks whether a
norm is small or large in itself, because that depends on the loss's scale and the model's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradcli.records import (
    EvalRecord,
    FaultRecord,
    Finding,
    Floats,
    LayerInfo,
    LayerRecord,
    RunInfo,
    StepRecords,
    norm_by_layer,
)

# Between neighbouring layers of a healthy network the gradient relative to the weights changes
# by small factors (2 to 3 in the MLPs and CNNs shipped here); a thousand from one end to the
# other means that some layers learn at a thousandth of the others' pace.
_DEPTH_FACTOR = 1e-3
# The usual update ratio is about 1e-3 (Stanford CS231n notes, "Babysitting the learning
# process"); a tenth of the weights at each step is a hundred times that.
_LARGE_UPDATE = 0.1
# The loss has not fallen where it keeps more than this share of its first value.
_LOSS_KEPT = 0.95
# Medians over the steps are taken over at most this many of them, evenly spread.
_SAMPLED_STEPS = 2000
# Fewer steps than this say nothing about how training goes.
_FEWEST_STEPS = 20


@dataclass(frozen=True)
class Evidence:
    """What the rules look at: a run's records, brought to one size."""

    info: RunInfo
    layers: tuple[LayerInfo, ...]
    """The layers with a weight matrix; norm layers' scales are no measure of depth."""
    norms: Floats
    """Gradient norms before clipping of those layers at sampled steps, (n, L)."""
    weights: Floats
    """Weight norms of those layers, (L,); NaN where none was measured."""
    update_ratios: Floats
    """Update ratios at the probed steps, (m, L)."""
    losses: Floats
    """Losses at the sampled steps, (n,)."""
    evals: tuple[EvalRecord, ...]
    fault: FaultRecord | None

    @property
    def relative_norms(self) -> NDArray[np.float64]:
        """The median over the steps of ||gradient|| / ||weights||, (L,)."""
        return np.median(self.norms, axis=0) / np.where(self.weights > 0, self.weights, np.nan)


def collect_evidence(
    info: RunInfo,
    steps: StepRecords,
    layer_records: tuple[LayerRecord, ...],
    evals: tuple[EvalRecord, ...],
    fault: FaultRecord | None,
) -> Evidence:
    """Gather from a run's records, however long it was, what the rules need."""
    matrices = [index for index, layer in enumerate(info.layers) if len(layer.shape) >= 2]
    finite = np.isfinite(np.asarray(steps.grad_norm_before_clip))
    rows = np.flatnonzero(finite)
    if len(rows) > _SAMPLED_STEPS:
        rows = rows[np.linspace(0, len(rows) - 1, _SAMPLED_STEPS).astype(np.intp)]
    norms = norm_by_layer(steps.parameter_grad_norm_before_clip[rows], info.layers)
    if layer_records:
        weights = np.array(layer_records[0].weight_norm, dtype=np.float64)
        ratios = np.array([record.update_ratio for record in layer_records], dtype=np.float64)
    else:
        weights = np.full(len(info.layers), np.nan)
        ratios = np.empty((0, len(info.layers)))
    return Evidence(
        info=info,
        layers=tuple(info.layers[index] for index in matrices),
        norms=norms[:, matrices],
        weights=weights[matrices],
        update_ratios=ratios[:, matrices],
        losses=np.asarray(steps.loss[rows], dtype=np.float64),
        evals=evals,
        fault=fault,
    )


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what the rules find, errors first; `healthy` only where every rule could look."""
    findings = [finding for rule in RULES for finding in rule(evidence)]
    if not findings and len(evidence.norms) >= _FEWEST_STEPS and len(evidence.update_ratios):
        findings = [_healthy(evidence)]
    severity = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(findings, key=lambda finding: severity[finding.severity]))


def non_finite(evidence: Evidence) -> Iterator[Finding]:
    """A NaN or an infinity stopped the run."""
    fault = evidence.fault
    if fault is None:
        return
    where = {
        "forward": f"the output of the layer {fault.layer}",
        "loss": "the loss",
        "backward": f"the gradient of the layer {fault.layer}",
    }[fault.phase]
    yield Finding(
        code="non-finite",
        severity="error",
        layer=fault.layer,
        evidence={"step": fault.step, "loss": fault.loss, "phase": fault.phase},
        threshold="any NaN or infinity in the loss or a gradient",
        message=f"At step {fault.step} {where} was the first value to be no finite number; "
        "the update was not made, so the weights are those from before it.",
        override=_lower_learning_rate(evidence, 10.0),
    )


def no_gradient(evidence: Evidence) -> Iterator[Finding]:
    """A layer whose gradient is exactly zero at every step."""
    if not len(evidence.norms):
        return
    for layer, largest in zip(evidence.layers, evidence.norms.max(axis=0), strict=True):
        if largest == 0:
            yield Finding(
                code="no-gradient",
                severity="error",
                layer=layer.name,
                evidence={"largest_grad_norm": 0.0, "steps": len(evidence.norms)},
                threshold="a gradient norm of exactly 0 at every step",
                message=f"No gradient reached {layer.name}: nothing of the loss depends on its "
                "weights, so it cannot learn.",
                override=_healthier_start(evidence),
            )


def vanishing_or_exploding(evidence: Evidence) -> Iterator[Finding]:
    """The gradient relative to the weights changes a thousandfold along the depth."""
    relative = evidence.relative_norms
    alive = relative > 0
    if len(evidence.norms) == 0 or alive.sum() < 2:
        return
    largest = int(np.nanargmax(np.where(alive, relative, np.nan)))
    small = alive & (relative < _DEPTH_FACTOR * relative[largest])
    before, after = np.flatnonzero(small[:largest]), np.flatnonzero(small[largest + 1 :])
    for code, indices in (("vanishing", before), ("exploding", after + largest + 1)):
        if not len(indices):
            continue
        names = [evidence.layers[index].name for index in indices]
        weakest = int(indices[np.argmin(relative[indices])])
        factor = float(relative[weakest] / relative[largest])
        vanishing = code == "vanishing"
        culprit = evidence.layers[weakest if vanishing else largest].name
        yield Finding(
            code=code,
            severity="warning",
            layer=culprit,
            evidence={
                "layers": f"{names[0]} to {names[-1]}" if len(names) > 1 else names[0],
                "relative_grad_norm": float(relative[weakest]),
                "largest_relative_grad_norm": float(relative[largest]),
                "largest_in": evidence.layers[largest].name,
                "factor": factor,
            },
            threshold=f"median ||gradient|| / ||weights|| below {_DEPTH_FACTOR:g} of the "
            "largest layer's",
            message=(
                f"Gradients vanish in {_span(names)}: relative to its weights, {culprit} gets "
                f"{factor:.1e} of the gradient that {evidence.layers[largest].name} gets, so the "
                "layers near the input hardly learn."
                if vanishing
                else f"Gradients explode on their way to the input: relative to its weights, "
                f"{culprit} gets {1 / factor:.1e} times the gradient of "
                f"{evidence.layers[weakest].name}."
            ),
            override=_healthier_start(evidence),
        )


def learning_rate_too_high(evidence: Evidence) -> Iterator[Finding]:
    """The weights are thrown about and the loss does not fall."""
    if len(evidence.losses) < _FEWEST_STEPS or not len(evidence.update_ratios):
        return
    # The first step's loss is that of the initial weights, before any update.
    early = float(evidence.losses[0])
    late = float(np.median(evidence.losses[-max(1, len(evidence.losses) // 10) :]))
    ratios = np.nanmedian(evidence.update_ratios, axis=0)
    worst = int(np.nanargmax(ratios)) if np.isfinite(ratios).any() else 0
    if late < _LOSS_KEPT * early or not ratios[worst] > _LARGE_UPDATE:
        return
    yield Finding(
        code="lr-too-high",
        severity="error",
        layer=evidence.layers[worst].name,
        evidence={
            "update_ratio": float(ratios[worst]),
            "early_loss": early,
            "late_loss": late,
            "learning_rate": evidence.info.learning_rate,
        },
        threshold=f"median update ratio above {_LARGE_UPDATE:g} while the loss keeps more than "
        f"{_LOSS_KEPT:g} of its first value",
        message=f"The learning rate is too high: each update changes "
        f"{evidence.layers[worst].name} by {ratios[worst]:.0%} of its weights, and the loss "
        f"went from {early:.3g} to {late:.3g}.",
        override=_lower_learning_rate(evidence, ratios[worst] / 1e-3),
    )


RULES = (non_finite, no_gradient, vanishing_or_exploding, learning_rate_too_high)


def _healthy(evidence: Evidence) -> Finding:
    relative = evidence.relative_norms
    spread = float(np.nanmin(relative) / np.nanmax(relative))
    ratio = float(np.nanmax(np.nanmedian(evidence.update_ratios, axis=0)))
    return Finding(
        code="healthy",
        severity="info",
        layer=None,
        evidence={"smallest_to_largest_layer": spread, "largest_update_ratio": ratio},
        threshold=f"layers within {_DEPTH_FACTOR:g} of one another; no NaN; loss falling, or "
        f"update ratios below {_LARGE_UPDATE:g}",
        message=f"Gradients reach every layer: relative to the weights, the weakest layer gets "
        f"{spread:.2g} of the strongest one's, and updates change the weights by "
        f"{ratio:.1e} of their size or less a step.",
        override=None,
    )


def _span(names: list[str]) -> str:
    """Name the layers, or the first and the last of many."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{len(names)} layers, {names[0]} to {names[-1]}"


def _healthier_start(evidence: Evidence) -> str:
    """Propose an activation and an initialisation that keep the gradient's size with depth."""
    if evidence.info.activation != "relu":
        return "activation=relu init=kaiming"
    if evidence.info.model in ("mlp", "deep_mlp"):
        return "init=kaiming model.norm=batch"
    return "init=orthogonal"


def _lower_learning_rate(evidence: Evidence, factor: float) -> str:
    """Propose a learning rate lower by the next power of ten above `factor`, at least ten."""
    tens = max(1, int(np.ceil(np.log10(factor)))) if np.isfinite(factor) else 1
    return f"optimizer.lr={evidence.info.learning_rate * 10.0**-tens:.3g}"
