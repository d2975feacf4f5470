"""Rules on how the training is put together: modes, frozen layers, the loss."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import (
    DEPTH_FACTOR,
    DROPOUT,
    OUTPUT_GRADIENT,
    OUTPUT_GRADIENT_TINY,
)
from gradcli.diagnosis.loss_course import has_learned, learned_anyway
from gradcli.diagnosis.loss_jumps import LossJump, loss_jump
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.which_loss import classes_told_apart
from gradcli.notation import numbers
from gradcli.notation.layer_names import are, named, them
from gradcli.records import Finding, layers_in_call_order

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
    if setup is None:
        return
    if setup.not_cleared < min(setup.updates_watched, 3) or setup.not_cleared < 2:
        yield from _not_cleared_elsewhere(evidence)
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


def _not_cleared_elsewhere(evidence: Evidence) -> Iterator[Finding]:
    """Another optimizer updates layers whose gradients nobody clears.

    Those that no optimizer updates may keep theirs, and those that are cleared now and then may be
    updated now and then.
    """
    watched = [set(setup.kept_elsewhere) for setup in evidence.setups if setup.step > 0]
    if len(watched) < 3:
        return
    never = {evidence.info.layers[place].name for place in set.intersection(*watched)}
    names = [
        layer.name
        for at, layer in enumerate(evidence.layers)
        if layer.name in never and evidence.is_moved(at)
    ]
    if not names:
        return
    yield Finding(
        code="not-cleared",
        severity="error",
        layer=names[0],
        evidence={"updates_watched": len(watched), "not_cleared": len(watched)},
        threshold="a gradient that is not zero when the first backward pass after an update "
        "begins, before each of the updates that were watched",
        message=f"The gradients of {named(names).removesuffix(',')} are never cleared: backward "
        "passes add to those of all earlier steps. The watched optimizer does not hold "
        f"{them(names)}; another one that does follows their sum.",
        override=None,
        mend=f"Call zero_grad() of the optimizer that holds {named(names).removesuffix(',')} too, "
        "once per update, before loss.backward().",
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
        message=f"{named(trained)} {are(trained)} in eval mode while the model trains: batches "
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
    elif squashing == "ReLU":
        message = (
            f"The model's output passes through a ReLU before {loss}, which expects logits of "
            "either sign: none can fall below 0, and those that are 0 get no gradient."
        )
        mend = f"Remove the ReLU from the model's output; {loss} takes logits."
    else:
        own = "softmax" if loss == "cross-entropy" else "sigmoid"
        message = (
            f"The model's output passes through a {squashing} before {loss}, which expects logits "
            f"and applies a {own} itself: gradients are much smaller than they should be."
        )
        if squashing == "softmax" and classes_told_apart(evidence) > 1:
            lowest = float(np.log(np.e + classes_told_apart(evidence) - 1) - 1)
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


def broadcast_targets(evidence: Evidence) -> Iterator[Finding]:
    """Outputs and targets differ in shape, so that the loss compares each with all others."""
    setup = evidence.setup
    if setup is None or not setup.broadcast_to or setup.outputs is None:
        return
    shape = setup.outputs.shape
    rows, columns = setup.broadcast_to
    yield Finding(
        code="labels",
        severity="warning",
        layer=None,
        evidence={"rows": rows, "last_loss": evidence.convergence.last_loss},
        threshold="one value per example in the output, and differences of shape (n, n) in the "
        "graph of the loss",
        message=f"The loss compares each output with the targets of all {rows} examples: the "
        f"output has shape {shape}, and broadcasting against the targets makes differences of "
        f"shape ({rows}, {columns}). The model can only learn the mean of the targets.",
        override=None,
        mend="Give outputs and targets the same shape: output.squeeze(1), or target.unsqueeze(1).",
    )


def loss_scale(evidence: Evidence) -> Iterator[Finding]:
    """The gradient at the model's output is far from that of a mean loss of classification."""
    setup = evidence.setup
    scaled = loss_jump(evidence)
    if scaled is not None and _is_scaled(evidence, scaled):
        yield _scaled_midway(evidence, scaled)
        return
    if setup is None or classes_told_apart(evidence) < 2:
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
    if has_learned(evidence) and not tiny and evidence.fault is None:
        return  # a sum instead of a mean, say, at a learning rate that fits it
    yield Finding(
        code="loss-scale",
        severity="info" if learned_anyway(evidence) else "warning",
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


def _is_scaled(evidence: Evidence, jump: LossJump) -> bool:
    """Whether the loss and all gradients jumped by such a factor together, and the loss stays."""
    if not jump.norm_before > 0:
        return False
    factors = (
        jump.after / jump.before,
        jump.norm_after / jump.norm_before,
        evidence.convergence.last_loss / jump.before,
    )
    small = max(factors) < DEPTH_FACTOR.value
    return (small and jump.norm_after > 0) or min(factors) > 1 / DEPTH_FACTOR.value


def _scaled_midway(evidence: Evidence, jump: LossJump) -> Finding:
    size = "small" if jump.after < jump.before else "large"
    return Finding(
        code="loss-scale",
        severity="warning",
        layer=None,
        evidence={
            "from_step": jump.step,
            "loss_before": jump.before,
            "loss_after": jump.after,
            "last_loss": evidence.convergence.last_loss,
        },
        threshold=f"a loss and gradients that change by a factor of {1 / DEPTH_FACTOR.value:g} or "
        "more from one step to the next and stay there, with no large update before",
        message=f"From step {jump.step} on the loss is multiplied by a number that is far too "
        f"{size}: from one step to the next it goes from {numbers.norm(jump.before)} to "
        f"{numbers.norm(jump.after)}, and the gradient from {numbers.norm(jump.norm_before)} to "
        f"{numbers.norm(jump.norm_after)}, although no update before it was large.",
        override=None,
        mend=f"Remove the factor in front of the loss from step {jump.step} on.",
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
        + f"{named(names)} {are(names)} frozen (requires_grad is off): "
        f"{'its' if len(names) == 1 else 'their'} weights stay as they are."
        + _little_is_trained(evidence),
        override=None,
    )


def _little_is_trained(evidence: Evidence) -> str:
    """Say how few parameters are trained, if they are less than a hundredth."""
    setup = evidence.setup
    if setup is None:
        return ""
    sizes = [one.size for layer in evidence.info.layers for one in layer.parameters]
    trained = sum(size for size, on in zip(sizes, setup.requires_grad, strict=True) if on)
    if not 100 * trained < sum(sizes):
        return ""
    return (
        f" Only {numbers.count(trained)} of {numbers.count(sum(sizes), 'parameter')} are trained."
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
