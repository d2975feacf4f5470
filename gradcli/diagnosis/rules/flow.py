"""Rules on gradients: do they reach every layer, unit and time step, and how large are they?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence, nanmedian
from gradcli.diagnosis.limit import Limit
from gradcli.diagnosis.limits import (
    DEAD_UNITS,
    DEPTH_FACTOR,
    LOSS_BLOWN_UP,
    SATURATED_UNITS,
    SILENT_STEPS,
    SMALL_UPDATE,
    STILL_TO_LEARN,
    WELL_LEARNED,
)
from gradcli.diagnosis.loss_course import learned_anyway, loss_kept, of_the_flow
from gradcli.diagnosis.rules.starting_point import stuck_at_zero, wild_guesses
from gradcli.diagnosis.rules.time_steps import vanishing_through_time
from gradcli.notation import numbers
from gradcli.notation.layer_names import and_others
from gradcli.records import Finding, Floats, Integers

# PyTorch's modules that hold several matrices each.
_KINDS_OF_SEVERAL_MATRICES = ("RNN", "LSTM", "GRU", "MultiheadAttention")


def no_gradient(evidence: Evidence) -> Iterator[Finding]:
    """A layer whose gradient is exactly zero at every step.

    If its gradient exists and is zero, its units are dead: the loss depends on them, but they are
    flat. If there is none, the graph is cut.
    """
    flow = of_the_flow(evidence)
    if not len(flow.norms):
        return
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    zero = (flow.norms.max(axis=0) == 0) & ~aside
    names = [layer.name for layer in evidence.layers]
    at_zero = set(stuck_at_zero(evidence))
    for block in _blocks(zero):
        # The last of the layers without a gradient is the one that lets nothing through.
        last = int(block[-1])
        if evidence.probed is not None and evidence.probed.dead_fraction[last] == 1:
            continue  # `dead_units` reports it
        behind = f", or the layers before it from {names[block[0]]} on" if len(block) > 1 else ""
        if not at_zero.isdisjoint(block.tolist()):
            continue  # `zero_weights` reports it
        if _has_own_parameters(evidence, last):
            yield _own_parameters_multiplied_by_zero(evidence, last, len(block) - 1)
            continue
        if evidence.has_flat_units(last):
            yield _dead_from_the_start(evidence, names[last], len(block) - 1)
            continue
        yield Finding(
            code="no-gradient",
            severity="error",
            layer=names[last],
            evidence={"largest_grad_norm": 0.0, "steps": len(evidence.norms)},
            threshold="a gradient norm of exactly 0 at every step",
            message=f"No gradient reached {names[last]}{behind}: the loss does not depend on its "
            "weights, so it cannot learn.",
            override=remedies.keep_units_alive(evidence),
            mend=f"Look for what cuts the graph behind {names[last]}: detach(), torch.no_grad(), "
            ".data, .item(), an integer or a rounding, or a layer whose output is never used.",
        )


def _dead_from_the_start(evidence: Evidence, name: str, others: int) -> Finding:
    return Finding(
        code="dead-units",
        severity="error",
        layer=name,
        evidence={"since_step": 1, "layers": 1 + others, "steps": len(evidence.norms)},
        threshold="a gradient that exists and is exactly 0 at every step",
        message=f"All units of {name} are dead from the start: the gradient of its weights exists, "
        f"but is exactly 0 at every step.{and_others(others)}",
        override=remedies.keep_units_alive(evidence),
        mend=f"Initialise the biases of {name} with 0 and its weights with the default "
        "initialisation, or use leaky ReLU.",
    )


def _has_own_parameters(evidence: Evidence, place: int) -> bool:
    """Whether a layer is the user's own module, with several matrices, whose gradients exist."""
    layer = evidence.layers[place]
    matrices = [one for one in layer.parameters if len(one.shape) > 1]
    of_pytorch = layer.kind.startswith(_KINDS_OF_SEVERAL_MATRICES)
    return len(matrices) > 1 and not of_pytorch and evidence.has_flat_units(place)


def _own_parameters_multiplied_by_zero(evidence: Evidence, place: int, others: int) -> Finding:
    layer = evidence.layers[place]
    prefix = "" if layer.name == "(model)" else f"{layer.name}."
    names = [one.name.removeprefix(prefix) for one in layer.parameters]
    named = ", ".join(names[:-1]) + f" and {names[-1]}"
    whose = "the model" if layer.name == "(model)" else layer.name
    return Finding(
        code="no-gradient",
        severity="error",
        layer=layer.name,
        evidence={"largest_grad_norm": 0.0, "layers": 1 + others, "steps": len(evidence.norms)},
        threshold="a gradient that exists and is exactly 0 at every step",
        message=f"The gradients of {named} of {whose} exist, but are exactly 0 at every step, so "
        f"none of them can learn.{and_others(others)}",
        override=None,
        mend=f"Look for what multiplies them by 0 in the forward pass of {whose}: a mask or a "
        "factor of 0, weights that are all 0, or units that are 0 for every example.",
    )


def fell_silent(evidence: Evidence) -> Iterator[Finding]:
    """Layers that got gradients at first, and then none any more."""
    if evidence.fault is not None:
        return
    silent = [at for at in evidence.fell_silent if not evidence.not_this_optimizers[at]]
    if not silent:
        return
    first = min(silent, key=lambda at: (evidence.silent_since[at], -at))
    step, name = int(evidence.silent_since[first]), evidence.layers[first].name
    steps = evidence.last_step - step + 1
    by_hand = _was_changed_at(evidence, first, step)
    yield Finding(
        code="dead-units",
        severity="error",
        layer=name,
        evidence={"since_step": step, "layers": len(silent), "steps_without_gradient": steps},
        threshold=f"a gradient norm of exactly 0 to the end, for {SILENT_STEPS} steps or more",
        message=f"From step {step} on no gradient reaches {name}: all its units output a constant "
        f"for every example, so they stay dead.{and_others(len(silent) - 1)}"
        + (
            " Its parameters changed by more than the measured updates add up to."
            if by_hand
            else ""
        ),
        override=remedies.keep_units_alive(evidence),
        mend=f"Look for what writes to the parameters of {name} at step {step}, other than "
        "optimizer.step(): .data, copy_(), load_state_dict() or an in-place operation."
        if by_hand
        else "Lower the learning rate, or use an activation with a gradient on both sides "
        "(leaky ReLU, GELU).",
    )


def _was_changed_at(evidence: Evidence, place: int, step: int) -> bool:
    """Whether a layer's norm changed around a step by more than the updates can have done.

    They can if a learning rate changed there as well, or the loss had blown up: updates that were
    not measured may have been larger then.
    """
    losses = evidence.losses[evidence.sampled_steps < step]
    if losses.max(initial=0.0) > LOSS_BLOWN_UP.value * evidence.convergence.first_loss:
        return False
    rates = [
        (setup.step + 1, [(group.parameters, group.learning_rate) for group in setup.groups])
        for setup in evidence.setups
    ]
    before = [groups for number, groups in rates if number < step]
    later = [groups for number, groups in rates if number >= step]
    if not (before and later) or before[-1] != later[0] or evidence.rate_changes:
        return False
    after = int(np.searchsorted(evidence.record_steps, step))
    if not 0 < after < len(evidence.weight_norms):
        return False
    norms = evidence.weight_norms[after - 1 : after + 1, place]
    count = int(evidence.record_steps[after] - evidence.record_steps[after - 1])
    largest = float(np.nanmax(evidence.update_ratios[after - 1 : after + 1, place], initial=0.0))
    return largest > 0 and bool(abs(norms[1] - norms[0]) > count * largest * norms[0])


def _blocks(chosen: Sequence[bool] | np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Integers]:
    """Return the indices that are chosen, in blocks of consecutive ones."""
    indices = np.flatnonzero(chosen)
    return [
        block for block in np.split(indices, np.flatnonzero(np.diff(indices) > 1) + 1) if len(block)
    ]


def vanishing_or_exploding(evidence: Evidence) -> Iterator[Finding]:
    """Gradients change a thousandfold along the depth or through time, or start far too large."""
    flow = of_the_flow(evidence)
    found = [one for one in _along_depth(flow) if not _harmless(evidence, one)]
    if not any(finding.code == "exploding" for finding in found):
        found += wild_guesses(evidence)
    yield from found
    for through_time in (evidence.probed and evidence.probed.through_time) or ():
        yield from vanishing_through_time(evidence, through_time)


def _harmless(evidence: Evidence, finding: Finding) -> bool:
    """Whether the layer with the small gradient learns all the same.

    Optimizers such as Adam rescale gradients, a lookup table has a gradient for few of its rows,
    and a scale of 1e-6 makes a branch's gradients small on purpose. If the loss falls and the
    layer's updates are no smaller than usual, its gradient is small, but it does learn.
    """
    learns_well = loss_kept(evidence) < WELL_LEARNED.value
    if evidence.fault or not learns_well or not len(evidence.update_ratios):
        return False
    name = finding.evidence["weakest_in"]
    place = next(at for at, layer in enumerate(evidence.layers) if layer.name == name)
    return bool(evidence.usual_update_ratios[place] >= SMALL_UPDATE.value)


def _along_depth(evidence: Evidence) -> Iterator[Finding]:
    """Compare the layers by gradients relative to weights, else by gradients w.r.t. inputs.

    Gradients w.r.t. inputs show what those w.r.t. weights do not: in a network of rectifiers
    without biases <gradient, weights> is the same in all layers, whatever the signals do.
    """
    if not len(evidence.norms):
        return
    measures = (
        ("relative_grad_norm", "||gradient|| / ||weights||", evidence.relative_norms),
        ("input_grad_norm", "||gradient w.r.t. the input||", nanmedian(evidence.input_norms)),
    )
    aside = np.array(evidence.not_this_optimizers)
    for name, formula, all_values in measures:
        values = np.where(aside, np.nan, all_values)
        findings = [
            _depth_finding(evidence, code, indices, name, formula, values)
            for code, indices in _weak_layers(values)
        ]
        if findings:
            yield from findings
            return


def _weak_layers(values: Floats) -> Iterator[tuple[str, Integers]]:
    """Yield the layers far below the strongest one.

    Those before it vanish. If there are some after it, the gradient explodes on its way to it.
    """
    alive = values > 0
    if alive.sum() < 2:
        return
    largest = int(np.nanargmax(np.where(alive, values, np.nan)))
    small = alive & (values < DEPTH_FACTOR.value * values[largest])
    for code, indices in (
        ("vanishing", np.flatnonzero(small[:largest])),
        ("exploding", np.flatnonzero(small[largest + 1 :]) + largest + 1),
    ):
        if len(indices):
            yield code, indices


def _depth_finding(
    evidence: Evidence, code: str, indices: Integers, name: str, formula: str, values: Floats
) -> Finding:
    names = [layer.name for layer in evidence.layers]
    weak = [names[index] for index in indices]
    weakest, largest = int(indices[np.argmin(values[indices])]), int(np.nanargmax(values))
    factor = float(values[weakest] / values[largest])
    of_inputs = name == "input_grad_norm"
    does_learn = learned_anyway(evidence) or loss_kept(evidence) < STILL_TO_LEARN.value
    measure = "gradient w.r.t. the input" if of_inputs else "gradient relative to the weights"
    if code == "vanishing":
        message = (
            f"Gradients vanish in {_span(weak)}: the {measure} of {names[weakest]} is "
            f"{numbers.norm(factor)} times that of {names[largest]}, "
            + (
                "but the model learns all the same."
                if does_learn
                else "so the layers near the input hardly learn."
            )
        )
    else:
        message = (
            f"Gradients explode on their way to the input: the {measure} of {names[largest]} is "
            f"{numbers.norm(1 / factor)} times that of {names[weakest]}."
        )
    return Finding(
        code=code,
        severity="info" if does_learn else "warning",
        layer=names[weakest] if code == "vanishing" else names[largest],
        evidence={
            "layers": f"{weak[0]} to {weak[-1]}" if len(weak) > 1 else weak[0],
            name: float(values[weakest]),
            f"largest_{name}": float(values[largest]),
            "largest_in": names[largest],
            "weakest_in": names[weakest],
            "factor": factor,
        },
        threshold=f"median {formula} below {DEPTH_FACTOR} of the largest layer's "
        f"({DEPTH_FACTOR.source})",
        message=message,
        override=remedies.keep_gradients_alive(evidence)
        if code == "vanishing"
        else remedies.keep_signals_small(evidence),
        mend="Use ReLU with kaiming initialisation, residual connections, or normalise between "
        "the layers."
        if code == "vanishing"
        else "Initialise with smaller weights (xavier, orthogonal), normalise between the layers, "
        "or clip the gradients.",
    )


def dead_units(evidence: Evidence) -> Iterator[Finding]:
    """Most units of a layer are zero for every example."""
    if evidence.probed is None:
        return
    worst = _worst(evidence, evidence.probed.dead_fraction, DEAD_UNITS)
    if worst is None:
        return
    name, share, others = worst
    all_dead = share == 1
    yield Finding(
        code="dead-units",
        severity="error" if all_dead else "warning",
        layer=name,
        evidence={"dead_fraction": share, "layers": 1 + others},
        threshold=f"more than {DEAD_UNITS} of the units zero for every example "
        f"({DEAD_UNITS.source})",
        message=(
            f"All units of {name} output zero for every example: no signal passes, and no "
            "gradient comes back."
            if all_dead
            else f"{share:.0%} of the units of {name} output zero for every example: no gradient "
            "reaches their weights, so they stay dead."
        )
        + and_others(others),
        override=remedies.keep_units_alive(evidence),
        mend=f"Initialise {name} with smaller weights and biases of 0, or use an activation with a "
        "gradient on both sides (leaky ReLU, GELU) behind it.",
    )


def saturated(evidence: Evidence) -> Iterator[Finding]:
    """Most activations of a layer are on the flat ends of their curve."""
    if evidence.probed is None:
        return
    worst = _worst(evidence, evidence.probed.saturated_fraction, SATURATED_UNITS)
    if worst is None:
        return
    name, share, others = worst
    yield Finding(
        code="saturated",
        severity="warning",
        layer=name,
        evidence={"saturated_fraction": share, "layers": 1 + others},
        threshold=f"more than {SATURATED_UNITS} of the activations with a derivative below a "
        f"twentieth of its largest ({SATURATED_UNITS.source})",
        message=f"{share:.0%} of the activations of {name} are on the flat ends of their curve: "
        f"they pass on hardly any gradient, however large the error.{and_others(others)}",
        override=remedies.keep_off_the_flat(evidence),
        mend=f"Initialise {name} and the layers before it so that signals keep their size (xavier "
        "for tanh), or use ReLU with kaiming initialisation.",
    )


def _worst(evidence: Evidence, shares: Floats, limit: Limit) -> tuple[str, float, int] | None:
    """Return the layer furthest above a limit, its share, and how many others are above it."""
    above = np.flatnonzero(shares > limit.value)
    if not len(above):
        return None
    worst = above[np.argmax(shares[above])]
    return evidence.layers[worst].name, float(shares[worst]), len(above) - 1


def _span(names: list[str]) -> str:
    """Name the layers; of many, how many, the first and the last."""
    if len(names) <= 2:
        return " and ".join(names)
    return f"{len(names)} layers, {names[0]} to {names[-1]}"
