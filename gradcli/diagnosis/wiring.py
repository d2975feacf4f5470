"""Rules on how the training is put together: what the optimizer holds, modes, the loss."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import DROPOUT, OUTPUT_GRADIENT, OUTPUT_GRADIENT_TINY, SILENT_STEPS
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.records import Finding, LayerInfo, layers_in_call_order

# As autograd names them: what turns logits into probabilities, and the losses that do so
# themselves. Log-softmax twice is log-softmax, so it is missing here on purpose.
_SQUASHING = {"Softmax": "softmax", "Sigmoid": "sigmoid", "Relu": "ReLU"}
_NLL = "nll_loss"
_BCE = "binary_cross_entropy"
_PRODUCTS = ("Addmm", "Mm", "Convolution")
_LOSSES_OF_LOGITS = {
    "LogSoftmax": ("cross-entropy", ("Softmax", "Sigmoid", "Relu")),
    "NllLoss": (_NLL, ("Softmax", "Sigmoid")),
    "BinaryCrossEntropyWithLogits": ("binary cross-entropy with logits", ("Sigmoid", "Relu")),
}
_NORMALISING = ("BatchNorm", "SyncBatchNorm", "InstanceNorm")


def not_cleared(evidence: Evidence) -> Iterator[Finding]:
    """The gradients of earlier updates are still there when the next ones are added."""
    setup = evidence.setup
    if setup is None or setup.not_cleared < min(setup.updates_watched, 3) or setup.not_cleared < 2:
        return
    always = setup.not_cleared == setup.updates_watched
    how_often = "never cleared" if always else "not always cleared"
    earlier = "those of all earlier steps" if always else "those of earlier steps"
    of = "each of" if always else f"{setup.not_cleared} of"
    yield Finding(
        code="not-cleared",
        severity="error",
        layer=None,
        evidence={"updates_watched": setup.updates_watched, "not_cleared": setup.not_cleared},
        threshold="a gradient that is not zero when the first backward pass after an update begins",
        message=f"The gradients are {how_often}: backward passes add to {earlier} "
        f"(seen before {of} {setup.updates_watched} updates), so the "
        "optimizer follows their sum.",
        override=None,
        mend="Call optimizer.zero_grad() once per update, before loss.backward().",
    )


def batch_norm_mode(evidence: Evidence) -> Iterator[Finding]:
    """Batch norm is in eval mode while the model trains."""
    setup = evidence.setup
    if setup is None or not setup.eval_mode:
        return
    called = layers_in_call_order(evidence.info.layers, setup)
    layers = [evidence.info.layers[index] for index in called]
    norms = [
        layer.name
        for layer in layers
        if layer.name in setup.eval_mode and layer.kind.startswith(_NORMALISING)
    ]
    trained = [name for name in norms if not evidence.is_frozen(name)]
    if not trained:
        return
    yield Finding(
        code="batch-norm-mode",
        severity="warning",
        layer=trained[0],
        evidence={"modules_in_eval_mode": len(setup.eval_mode)},
        threshold="a batch norm layer with trained weights, in eval mode in a training pass",
        message=f"{_names(trained)} {_are(trained)} in eval mode while the model trains: batches "
        "are normalised with the running statistics, which are not updated, and not with "
        "their own.",
        override=None,
        mend="Call model.train() before the training steps, and model.eval() only to evaluate.",
    )


def softmax_before_loss(evidence: Evidence) -> Iterator[Finding]:
    """The loss expects logits, but gets what a softmax, a sigmoid or a ReLU has squashed."""
    found = _squashed(evidence)
    if found is None:
        return
    squashing, loss = found
    last = evidence.layers[-1].name
    if not squashing:
        message = (
            f"The output of {last} goes into {loss} as it is, which expects logarithms of "
            "probabilities: without a log-softmax the loss falls below 0 without end."
        )
        mend = f"Use cross_entropy, or apply log_softmax to the output before {loss}."
    elif loss == _NLL:
        message = (
            f"The model's output passes through a {squashing} before {loss}, which expects "
            "logarithms of probabilities: the loss is between -1 and 0, and its gradients are much "
            "smaller than they should be."
        )
        mend = f"Replace the {squashing} by log_softmax, or remove it and use cross_entropy."
    elif loss == _BCE:
        message = (
            f"The model's output passes through a sigmoid twice before {loss}, which expects "
            "probabilities: they stay between 0.5 and 0.73, and gradients are much smaller than "
            "they should be."
        )
        mend = f"Remove one sigmoid, or both and use {_BCE}_with_logits."
    else:
        own = "softmax" if loss == "cross-entropy" else "sigmoid"
        message = (
            f"The model's output passes through a {squashing} before {loss}, which expects logits "
            f"and applies a {own} itself: gradients are much smaller than they should be."
        )
        if squashing == "softmax" and evidence.classes > 1:
            lowest = float(np.log(np.e + evidence.classes - 1) - 1)
            message += f" The loss cannot fall below {numbers.norm(lowest)}."
        mend = f"Remove the {squashing} from the model's output; {loss} takes logits."
    yield Finding(
        code="softmax-before-loss",
        severity="warning" if squashing else "error",
        layer=last,
        evidence={
            "operation": squashing or "matrix product",
            "loss": loss,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"the operation before {loss} in the graph of the loss",
        message=message,
        override=None,
        mend=mend,
    )


def _squashed(evidence: Evidence) -> tuple[str, str] | None:
    """Return the operation that squashes the logits, and the loss, if there is one."""
    setup = evidence.setup
    if setup is None:
        return None
    for operation, before, first in zip(*(setup.loss_path[at:] for at in range(3)), strict=False):
        if operation == "BinaryCrossEntropy" and before == first == "Sigmoid":
            return "sigmoid", _BCE
    for operation, before in pairwise(setup.loss_path):
        if operation.startswith("NllLoss") and before in _PRODUCTS:
            return "", _NLL
        loss = _LOSSES_OF_LOGITS.get(operation)
        if loss is not None and before in loss[1]:
            return _SQUASHING[before], loss[0]
    return None


def loss_scale(evidence: Evidence) -> Iterator[Finding]:
    """The gradient at the model's output is far from that of a mean loss of classification."""
    setup = evidence.setup
    if setup is None or evidence.classes < 2:
        return
    if evidence.steps < FEWEST_STEPS and evidence.fault is None:
        return
    # At the first step, before anything has gone wrong; later ones are small as the loss is.
    first = evidence.first_setup or setup
    norm = first.output_grad_norm
    if not norm > 0 or _squashed(evidence) is not None:
        return
    tiny = norm < OUTPUT_GRADIENT_TINY.value
    if not tiny and not norm > OUTPUT_GRADIENT.value:
        return
    if evidence.has_learned and not tiny and evidence.fault is None:
        return  # a sum instead of a mean, say, at a learning rate that fits it
    yield Finding(
        code="loss-scale",
        severity="info" if evidence.learned_anyway else "warning",
        layer=None,
        evidence={"output_grad_norm": norm, "last_loss": evidence.convergence.last_loss},
        threshold=f"||dL/doutput|| times the root of the batch size below {OUTPUT_GRADIENT_TINY} "
        f"or above {OUTPUT_GRADIENT} ({OUTPUT_GRADIENT.source})",
        message="The loss is multiplied by a number that is far too "
        + ("small" if tiny else "large")
        + f": the gradient at the model's output is {numbers.norm(norm)}, while that of a mean "
        "cross-entropy is about 1.",
        override=None,
        mend="Take the mean of the loss over the batch, and remove the factor in front of it.",
    )


def dropout_too_high(evidence: Evidence) -> Iterator[Finding]:
    """A dropout drops nearly everything."""
    setup = evidence.setup
    if setup is None or evidence.steps < FEWEST_STEPS:
        return
    name, share = setup.dropout
    if not share > DROPOUT.value:
        return
    yield Finding(
        code="dropout-too-high",
        severity="warning",
        layer=name,
        evidence={"dropout": share, "last_loss": evidence.convergence.last_loss},
        threshold=f"a dropout of more than {DROPOUT} in training mode ({DROPOUT.source})",
        message=f"{name} drops {share:.0%} of its values in training: too little is left to learn "
        "from.",
        override=remedies.lower_dropout(evidence),
        mend=f"Lower the dropout of {name} to 0.5 or less.",
    )


def not_updated(evidence: Evidence) -> Iterator[Finding]:
    """Layers get gradients, but no update moves them: none at all, or none any more."""
    found = next(_never_updated(evidence), None)
    found = found or next(_without_updates(evidence), None) or next(_standing_still(evidence), None)
    if found is not None:
        yield found


def _without_updates(evidence: Evidence) -> Iterator[Finding]:
    """An own loop reports losses, but its optimizer makes no updates any more."""
    calls = evidence.calls_since_update
    if calls < SILENT_STEPS.value or calls <= 2 * evidence.calls_per_update:
        return
    yield Finding(
        code="not-updated",
        severity="warning",
        layer=None,
        evidence={"last_update": evidence.last_step, "calls_since": calls},
        threshold=f"{SILENT_STEPS} losses or more without an update after them, and more than "
        "twice as many as ever before an update",
        message=f"After update {evidence.last_step} monitor.step(loss) was called {calls} times, "
        "but optimizer.step() of the watched optimizer never: what happened then is not on record.",
        override=None,
        mend="Call optimizer.step() after monitor.step(loss), and give a new optimizer a monitor "
        "of its own.",
    )


def _standing_still(evidence: Evidence) -> Iterator[Finding]:
    """Layers that updates moved at first, but do not move in the last part of the training."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    gets_gradient = (evidence.norms[-1:] > 0).any(axis=0)
    places = np.flatnonzero((evidence.still_since > 0) & ~aside & gets_gradient)
    if not len(places):
        return
    layers = [evidence.layers[place] for place in places]
    names = [layer.name for layer in layers]
    everything = len(names) == int((~aside).sum())
    since = int(evidence.still_since[places].min())
    zero_rate = _has_zero_rate(evidence, layers)
    whose = "" if everything else f" of {_names(names).removesuffix(',')}"
    yield Finding(
        code="not-updated",
        severity="error",
        layer=None if everything else names[0],
        evidence={"layers": len(names), "since_step": since, "update_ratio": 0.0},
        threshold="a gradient above 0 and an update ratio of exactly 0 whenever it was measured in "
        "the last tenth of the steps",
        message=f"From step {since} on, if not before, no update moves "
        + ("any weight" if everything else _names(names).removesuffix(","))
        + (": the learning rate is 0." if zero_rate else ", although gradients arrive."),
        override=None,
        mend=f"Keep the learning rate{whose} above 0, or end the training there."
        if zero_rate
        else f"See what changed before step {since}: the optimizer must hold the parameters"
        f"{whose} that the model uses.",
    )


def _never_updated(evidence: Evidence) -> Iterator[Finding]:
    if not len(evidence.update_ratios) or not len(evidence.norms):
        return
    gets_gradient = evidence.norms.max(axis=0) > 0
    exactly_still = ~evidence.moved_by_updates & gets_gradient & ~np.array(evidence.frozen)
    cleared = exactly_still & np.array(evidence.gone_before_update or False)
    if cleared.any():
        yield _cleared_too_late(evidence, np.flatnonzero(cleared).tolist())
        return
    # A gradient may be so small that an update rounds to nothing, in a layer that is held.
    known = evidence.setup is not None
    still = exactly_still & (
        np.array(evidence.not_held)
        if known
        else np.array([not evidence.is_moved(place) for place in range(len(evidence.layers))])
    )
    places = {evidence.layers[place].name for place in np.flatnonzero(still)}
    everything = len(places) == len(evidence.layers)
    places |= set() if everything else set(evidence.still_without_matrix)
    layers = [layer for layer in evidence.info.layers if layer.name in places]
    if not layers:
        return
    names = [layer.name for layer in layers]
    zero_rate = _has_zero_rate(evidence, layers)
    if everything:
        message = "No update moves any weight: " + (
            "the learning rate is 0." if zero_rate else "the optimizer changes nothing."
        )
        mend = "Give the optimizer a learning rate above 0, and the parameters of this model."
    else:
        message = (
            f"{_names(names)} {_gets(names)} a gradient at every step, but no update moves "
            f"{_them(names)}: "
            + (
                "the learning rate of the parameter group is 0."
                if zero_rate
                else "the optimizer does not hold the parameters."
            )
        )
        whose = _names(names) if len(names) <= 2 else f"these {len(names)} layers"
        mend = (
            f"Give the parameter group of {whose} a learning rate above 0."
            if zero_rate
            else f"Pass the parameters of {whose} to the optimizer; build it after the model is "
            "complete."
        )
    yield _never_moved(
        evidence,
        None if everything else names[0],
        len(names),
        message,
        mend,
        remedies.set_learning_rate(evidence) if everything and zero_rate else None,
    )


def _cleared_too_late(evidence: Evidence, places: list[int]) -> Finding:
    """Return that the gradients are gone when the optimizer makes its update."""
    names = [evidence.layers[place].name for place in places]
    everything = len(names) == sum(not still for still in evidence.frozen)
    what = "any weight" if everything else _names(names).removesuffix(",")
    whose = "" if everything else f" for {_them(names)}"
    return _never_moved(
        evidence,
        None if everything else names[0],
        len(names),
        f"No update moves {what}: the gradients that loss.backward() made{whose} are gone, or 0, "
        "when optimizer.step() runs.",
        "Call optimizer.zero_grad() before loss.backward(), and set no gradient to None or 0 "
        "between it and optimizer.step().",
    )


def _never_moved(
    evidence: Evidence,
    layer: str | None,
    count: int,
    message: str,
    mend: str,
    override: str | None = None,
) -> Finding:
    measured = len(evidence.update_ratios)
    return Finding(
        code="not-updated",
        severity="error",
        layer=layer,
        evidence={"layers": count, "update_ratio": 0.0, "measured": measured},
        threshold="a gradient above 0 and an update ratio of exactly 0 whenever it was measured",
        message=message,
        override=override,
        mend=mend,
    )


def frozen(evidence: Evidence) -> Iterator[Finding]:
    """Layers that are not trained on purpose: one remark."""
    places = [place for place, still in enumerate(evidence.frozen) if still]
    names = [evidence.layers[place].name for place in places]
    names += [] if names and len(names) == len(evidence.layers) else _frozen_matrices(evidence)
    if not names:
        return
    since = {int(evidence.silent_since[place]) for place in places if len(evidence.silent_since)}
    step = since.pop() if len(since) == 1 and len(places) == len(names) else 0
    yield Finding(
        code="frozen",
        severity="info",
        layer=names[0] if len(names) == 1 else None,
        evidence={"layers": len(names), **({"since_step": step} if step > 1 else {})},
        threshold="requires_grad is off for all parameters of a layer, or for its matrix",
        message=(f"From step {step} on, " if step > 1 else "")
        + f"{_names(names)} {_are(names)} frozen (requires_grad is off): "
        f"{'its' if len(names) == 1 else 'their'} weights stay as they are.",
        override=None,
    )


def _frozen_matrices(evidence: Evidence) -> list[str]:
    """Name the frozen matrices of layers of which another parameter, such as a bias, is trained."""
    setup = evidence.setup
    if setup is None:
        return []
    return [
        parameter.name
        for layer, still in zip(evidence.layers, evidence.frozen, strict=True)
        for parameter, index in zip(layer.parameters, evidence.parameters_of(layer), strict=True)
        if not still and len(parameter.shape) > 1 and not setup.requires_grad[index]
    ]


def _has_zero_rate(evidence: Evidence, layers: list[LayerInfo]) -> bool:
    """Whether the optimizer holds these layers' parameters, but at a rate of zero."""
    setup = evidence.setup
    if setup is None:
        return evidence.info.learning_rate == 0
    held = {index for group in setup.groups for index in group.parameters}
    indices = {index for layer in layers for index in evidence.parameters_of(layer)}
    rates = [group.learning_rate for group in setup.groups if indices & set(group.parameters)]
    return bool(indices & held) and not any(rates)


def _names(names: list[str]) -> str:
    """Name up to two layers; of more, the number, the first and the last."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{len(names)} layers, {names[0]} to {names[-1]},"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _gets(names: list[str]) -> str:
    return "gets" if len(names) == 1 else "get"


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"
