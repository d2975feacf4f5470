"""What to try: overrides that can be pasted, for the models and settings that are shipped.

Each function returns None if no override can fix it, as for the user's own loop.
"""

from __future__ import annotations

import math

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import FIRST_UPDATE, SETTLED_UPDATE
from gradcli.diagnosis.update_sizes import (
    settled_together,
    settled_update,
    updates_too_large,
    updates_too_large_together,
)
from gradcli.records import LayerInfo

_RECTIFIERS = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus")
#: The key of each clipping rule's limit.
_CLIP_LIMITS = {
    "norm": "clip.max_norm",
    "per_layer": "clip.max_norm",
    "value": "clip.max_value",
    "agc": "clip.clip_factor",
}
# A rate that is too high is lowered by this factor at least.
_LEAST_CHANGE = 1 / 3
# With so few layers, PyTorch's own initialisation learns as fast as any.
_SHALLOW = 6
_ROOM_UNDER_SGD = 1.6
# In a deep network, the updates of all layers may add up to those of so many layers.
_LAYERS_TOGETHER = 3
_LARGEST_BATCH = 1024
_AXES_OF_AN_IMAGE = 3
_WITH_DROPOUT = ("mlp", "deep_mlp", "cnn", "cnn_2c2d", "rnn")
_WITH_BETAS = ("adam", "adamw", "adamax", "nadam", "radam")


def keep_gradients_alive(evidence: Evidence) -> str | None:
    """Propose an activation and an initialisation that keep the gradient's size with depth."""
    info = evidence.info
    if info.is_own_loop:
        return None
    if info.activation and info.activation not in _RECTIFIERS:
        return "activation=relu init=kaiming"
    return "init=orthogonal" if info.model == "rnn" else "init=kaiming"


def keep_signals_small(evidence: Evidence) -> str | None:
    """Propose an initialisation under which signals do not grow with depth."""
    info = evidence.info
    if info.is_own_loop:
        return None
    if len(evidence.layers) <= _SHALLOW:
        return "init=default"
    if info.model == "deep_mlp":
        # Kaiming's weights are too large if a block's input is added to its output.
        return "init=default model.norm=layer"
    return "init=kaiming" if info.activation in _RECTIFIERS else "init=xavier"


def keep_units_alive(evidence: Evidence) -> str | None:
    """Propose an activation that has a gradient on both sides."""
    return "activation=leaky_relu init=kaiming" if evidence.info.activation else None


def keep_off_the_flat(evidence: Evidence) -> str | None:
    """Propose what keeps activations on the steep part of their curve."""
    if evidence.info.is_own_loop or not evidence.info.activation:
        return None
    started_there = evidence.steps < 2
    return "init=xavier" if started_there else "activation=relu init=kaiming"


def keep_time_steps_alive(evidence: Evidence) -> str | None:
    """Propose a recurrent matrix that keeps the gradient's size (Saxe et al. 2013, 1312.6120)."""
    return "init=orthogonal" if evidence.info.model == "rnn" else None


def lower_learning_rate(evidence: Evidence, factor: float) -> str | None:
    """Propose the learning rate at which updates are as large as in a training that goes well.

    Args:
        evidence: of the run.
        factor: by how much updates were too large, if the first one does not show it.
    """
    return _learning_rate(evidence, _lowering_factor(evidence, factor))


def lower_learning_rate_in_words(evidence: Evidence, factor: float, layer: LayerInfo) -> str:
    """Say to which learning rate to go down, and of which group if there are several."""
    rates = evidence.first_rates
    rate = rates.get(layer.name, evidence.info.learning_rate)
    whose = f" of the parameter group of {layer.name}" if len(set(rates.values())) > 1 else ""
    known = 0 < rate < math.inf
    target = f" to {rate * _lowering_factor(evidence, factor):.2g}" if known else ""
    return f"Lower the learning rate{whose}{target}."


def _lowering_factor(evidence: Evidence, factor: float) -> float:
    settled = settled_update(evidence)
    if settled > 0:
        # Under SGD, later gradients are smaller than the first ones.
        target = SETTLED_UPDATE.value * (1.0 if evidence.is_adaptive else _ROOM_UNDER_SGD)
        lower = min(_LEAST_CHANGE, target / settled)
        if updates_too_large(evidence) or not updates_too_large_together(evidence):
            return lower
        # No layer's update is too large by itself: it is the depth that adds them up.
        return min(lower, _LAYERS_TOGETHER * target / settled_together(evidence))
    tens = max(1, math.ceil(math.log10(factor))) if 0 < factor < math.inf else 1
    return 10.0**-tens


def raise_learning_rate(evidence: Evidence, update_ratio: float) -> str | None:
    """Propose the learning rate at which updates are as large as in a training that goes well."""
    return _learning_rate(evidence, _raising_factor(evidence, update_ratio))


def _raising_factor(evidence: Evidence, update_ratio: float) -> float:
    """Return what makes updates as large as those of a training that goes well."""
    settled = settled_update(evidence)
    factor = FIRST_UPDATE.value / update_ratio if update_ratio > 0 else 10.0
    if settled > 0 and not evidence.is_adaptive:
        factor = max(factor, SETTLED_UPDATE.value * _ROOM_UNDER_SGD / settled)
    return max(3.0, factor)


def raise_learning_rate_in_words(evidence: Evidence, update_ratio: float) -> str:
    """Say to which learning rate to go up."""
    rate = evidence.info.learning_rate
    target = (
        f" to {rate * _raising_factor(evidence, update_ratio):.2g}" if 0 < rate < math.inf else ""
    )
    return f"Raise the learning rate{target}."


def raise_clip_limit(evidence: Evidence, coefficient: float) -> str | None:
    """Propose a limit at ten times the usual norm, given the usual coefficient."""
    rule, _, number = evidence.info.clip.partition(" ")
    if rule not in _CLIP_LIMITS or evidence.info.is_own_loop:
        return None
    times = 30 if rule == "value" else 10  # the largest element is far above the usual one
    return f"{_CLIP_LIMITS[rule]}={times * float(number) / coefficient:.2g}"


def larger_batches(evidence: Evidence, factor: float) -> str | None:
    """Propose a batch size larger by `factor`, as a power of two."""
    info = evidence.info
    if info.is_own_loop or not info.batch_size or not factor > 1:
        return None
    of_a_pass = info.batch_size / info.accumulate
    return f"batch_size={min(_LARGEST_BATCH, 2 ** math.ceil(math.log2(of_a_pass * factor)))}"


def smooth_schedule(evidence: Evidence) -> str | None:
    """Propose the schedule without jumps that is nearest to a stepwise one."""
    return "schedule=constant" if not evidence.info.is_own_loop else None


def limit_spikes(evidence: Evidence) -> str | None:
    """Propose clipping if there is none, else a lower learning rate."""
    clips = evidence.info.clip not in ("none", "")
    if not evidence.info.is_own_loop and not clips:
        return "clip=norm"
    return lower_learning_rate(evidence, 1.0)


def _learning_rate(evidence: Evidence, factor: float) -> str | None:
    rate = evidence.info.learning_rate
    if evidence.info.is_own_loop or not 0 < rate < math.inf:
        return None
    # Groups may have rates of their own, which the optimizer's leaves alone.
    rates = {f"optimizer.groups.{one.name}": one.learning_rate for one in evidence.info.groups}
    return " ".join(
        f"{place}.lr={one * factor:.2g}"
        for place, one in (rates or {"optimizer": rate}).items()
        if one > 0
    )


def set_learning_rate(evidence: Evidence) -> str | None:
    """Propose a learning rate for an optimizer whose rate is zero."""
    return None if _has_own_settings(evidence) else "optimizer.lr=0.001"


def scale_inputs(evidence: Evidence) -> str | None:
    """Propose to normalise pixels, or to standardise the numbers of a file."""
    info = evidence.info
    if info.is_own_loop or info.data.file_sha256:
        return None
    are_images = len(info.data.shape) == _AXES_OF_AN_IMAGE
    return "data.normalize=mean_std" if are_images else "data.standardize=true"


def usual_initialisation(evidence: Evidence) -> str | None:
    """Propose PyTorch's own initialisation, or in a deep network one that keeps signals' size."""
    if evidence.info.is_own_loop:
        return None
    is_deep = len(evidence.layers) > _SHALLOW and evidence.info.activation in _RECTIFIERS
    return "init=kaiming" if is_deep else "init=default"


def gentle_decay(decay: float, pull: float) -> float:
    """Return a weight decay that pulls a hundredth as hard as the gradient at the start."""
    return float(f"{decay * 0.01 / pull:.0e}")


def lower_weight_decay(evidence: Evidence, decay: float, pull: float) -> str | None:
    """Propose a weight decay that the gradient outweighs."""
    if _has_own_settings(evidence):
        return None
    return f"optimizer.weight_decay={gentle_decay(decay, pull):g}"


def usual_momentum(evidence: Evidence) -> str | None:
    """Propose the usual momentum, by the key that the optimizer has."""
    if _has_own_settings(evidence):
        return None
    if evidence.info.optimizer in _WITH_BETAS:
        return "optimizer.betas=[0.9,0.999]"
    return "optimizer.momentum=0.9"


def usual_epsilon(evidence: Evidence) -> str | None:
    """Propose the usual epsilon."""
    return None if _has_own_settings(evidence) else "optimizer.eps=1e-8"


def _has_own_settings(evidence: Evidence) -> bool:
    """Whether no override of the optimizer sets what all its parameters have."""
    return evidence.info.is_own_loop or bool(evidence.info.groups)


def lower_dropout(evidence: Evidence) -> str | None:
    """Propose to drop less, for the models that have the key."""
    return "model.dropout=0.1" if evidence.info.model in _WITH_DROPOUT else None


def longer_training(evidence: Evidence) -> str | None:
    """Propose four times as many steps."""
    info = evidence.info
    if info.is_own_loop or not info.epochs or not info.batch_size:
        return None
    in_full = info.epochs * (info.data.train // info.batch_size)
    cut_short = " max_steps=null" if info.total_steps < in_full else ""
    return f"epochs={4 * info.epochs}{cut_short}"
