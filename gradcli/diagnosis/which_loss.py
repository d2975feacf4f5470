"""Which loss a training minimises: what guessing costs under it, and whether it should fall."""

from __future__ import annotations

import math

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import LOSS_KEPT
from gradcli.records import UNKNOWN_LEVELS, SetupRecord

# The losses of classification, as autograd names them.
_CLASS_LOSSES = ("NllLoss", "LogSoftmax")
_MATRIX_PRODUCTS = ("Addmm", "Mm", "Bmm", "Baddbmm", "Convolution")
_TWO_CLASS_LOSSES = ("BinaryCrossEntropy",)
_LOSSES_OF_TARGETS = ("MseLoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNllLoss")


def classes_told_apart(evidence: Evidence) -> int:
    """Return how many classes a loss of classification distinguishes; 0 if that is not known."""
    setup = evidence.setup
    if evidence.info.data.classes > 1:
        return evidence.info.data.classes
    if setup is None or setup.outputs is None:
        return 0
    if not evidence.info.is_own_loop and not _is_plain_cross_entropy(setup):
        return 0
    shape, path = setup.outputs.shape, setup.loss_path[: setup.output_at + 1]
    # A loss that reads something else, as that of a generator does, is not of these outputs.
    if setup.output_at < 0 or any(name.startswith(_MATRIX_PRODUCTS) for name in path[:-1]):
        return 0
    if any(name.startswith(_TWO_CLASS_LOSSES) for name in path):
        return 2
    is_classification = any(name.startswith(_CLASS_LOSSES) for name in path)
    return shape[1] if is_classification and len(shape) > 1 else 0


def _is_plain_cross_entropy(setup: SetupRecord) -> bool:
    """Whether the loss is a cross-entropy of outputs (b, classes), and nothing comes after it."""
    of_classes = bool(setup.loss_path) and setup.loss_path[0].startswith(_CLASS_LOSSES)
    return of_classes and setup.outputs is not None and len(setup.outputs.shape) == 2


def loss_of_guessing(evidence: Evidence) -> float:
    """Return ln(classes); NaN if they are not known, or if the loss is not a mean cross-entropy.

    It is the loss of initial weights, which know nothing of how common the classes are.
    """
    if classes_told_apart(evidence) < 2 or _is_no_mean_cross_entropy(evidence):
        return math.nan
    return math.log(classes_told_apart(evidence))


def is_measured_by_guessing(evidence: Evidence) -> bool:
    """Whether it is known what the best constant output costs, and it is not just ln(classes).

    Then a part of the loss may be noise of the targets, which no model learns: progress is what is
    gained on guessing. Of classes that are about equally common, progress is how little is left.
    """
    guessing, classes = evidence.info.levels.guessing, classes_told_apart(evidence)
    if math.isnan(guessing):
        return False
    return classes < 2 or guessing < LOSS_KEPT.value * math.log(classes)


def has_known_zero(evidence: Evidence) -> bool:
    """Whether ratios of losses mean something: a function of the user's own may have an offset.

    In an own loop, the loss is taken for what its graph says.
    """
    if evidence.info.is_own_loop or is_measured_by_guessing(evidence):
        return True
    return not math.isnan(loss_of_guessing(evidence))


def _is_no_mean_cross_entropy(evidence: Evidence) -> bool:
    """Whether the first loss of the user's own making is out of reach of a mean cross-entropy.

    log(sum(exp(z))) - z_y is between 0 and max(z) - min(z) + ln(classes), so a loss outside is
    a sum over the batch, or has a sign, a factor or an offset of its own.
    """
    first, info = evidence.first_setup, evidence.info
    is_named = not info.is_own_loop and (info.data.classes > 1 or info.levels != UNKNOWN_LEVELS)
    if is_named or not len(evidence.losses):
        return False
    if first is None or first.outputs is None or first.step > 0:
        return False
    loss, range_of_outputs = float(evidence.losses[0]), first.outputs.high - first.outputs.low
    return not 0 <= loss <= (range_of_outputs + math.log(classes_told_apart(evidence))) * (1 + 1e-6)


def judges_loss(evidence: Evidence) -> bool:
    """Whether the loss is one that should fall, from above 0: it is positive at every step.

    Others may begin at 0, be negative or rise by design; then only the gradients are judged.
    A cross-entropy that began above 0 rounds to 0 for a batch of which the model is certain.
    """
    if not len(evidence.losses) or not has_known_zero(evidence):
        return False
    if is_measured_by_guessing(evidence):
        return True
    is_cross_entropy = evidence.losses[0] > 0 and not math.isnan(loss_of_guessing(evidence))
    return bool((evidence.losses >= 0).all() if is_cross_entropy else (evidence.losses > 0).all())


def has_another_loss_from(evidence: Evidence, step: int) -> bool:
    """Whether the loss is computed in another way from a step on than before it."""
    before = [setup.loss_path for setup in evidence.setups if setup.step + 1 < step]
    after = [setup.loss_path for setup in evidence.setups if setup.step + 1 >= step]
    return bool(before and after) and before[-1] != after[0]


def should_fall(evidence: Evidence) -> bool:
    """Whether training is known to lower the loss: it compares outputs with targets.

    Others may rise by design, such as those of a generator and a discriminator, or one that
    is subtracted from a constant and maximised.
    """
    if not evidence.info.is_own_loop:
        return True
    path = () if evidence.setup is None else evidence.setup.loss_path
    if classes_told_apart(evidence) > 1:
        before = path[: _first_place(path, (*_CLASS_LOSSES, *_TWO_CLASS_LOSSES))]
        turned = not {"Neg", "Sub", "Rsub"}.isdisjoint(before)
        return not turned and not {"Mul", "Add"} <= set(before)
    return any(name.startswith(_LOSSES_OF_TARGETS) for name in path)


def _first_place(path: tuple[str, ...], prefixes: tuple[str, ...]) -> int:
    """Return the place of the first operation of one of these names; the end if there is none."""
    places = (at for at, name in enumerate(path) if name.startswith(prefixes))
    return next(places, len(path))
