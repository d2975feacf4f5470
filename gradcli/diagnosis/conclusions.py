"""What is said if no rule finds anything serious: healthy, or what is not known."""

from __future__ import annotations

import math

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence, nanmedian
from gradcli.diagnosis.limits import (
    BEYOND_CHANCE,
    LARGE_UPDATE,
    LOSS_KEPT,
    SETTLED_LEFT,
    SPIKE_HARM,
)
from gradcli.diagnosis.loss_course import (
    is_long_enough,
    loss_kept,
    loss_left,
    may_still_fall,
    still_falls,
)
from gradcli.diagnosis.loss_jumps import loss_that_stays_up
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.diagnosis.rules import needs
from gradcli.diagnosis.standing import hangs_on_few, last_quarter, standing
from gradcli.diagnosis.which_loss import (
    has_known_zero,
    is_measured_by_guessing,
    judges_loss,
    should_fall,
)
from gradcli.notation import numbers
from gradcli.notation.layer_names import named
from gradcli.records import Finding


def conclusion(evidence: Evidence, tested: list[str]) -> list[Finding]:
    """Return what to say if nothing serious was found; nothing if too little was seen for that."""
    if not _enough(evidence):
        return []
    unsure = _changed_midway(evidence) or _too_large_to_judge(evidence)
    if unsure is not None:
        return [unsure]
    return [
        _hangs_on_few(evidence)
        or _healthy(evidence, tested)
        or _not_yet_learned(evidence)
        or _not_better_for_certain(evidence)
        or _undetermined(evidence)
    ]


def _enough(evidence: Evidence) -> bool:
    """Whether enough was seen to call it healthy: a whole run with updates, or a probed model."""
    seen = not needs.updates(evidence) or standing(evidence) == "better"
    return (evidence.is_whole and seen) or (
        not needs.activations(evidence) and not needs.gradients(evidence)
    )


def _healthy(evidence: Evidence, tested: list[str]) -> Finding | None:
    """Return that all is well; None if a trained layer gets no gradient, or is not moved."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    if any(_silent_in_the_end(evidence)) or _stands_still(evidence):
        return None
    if is_long_enough(evidence) and should_fall(evidence) and not _is_shown_to_learn(evidence):
        return None
    # A layer that was frozen at first has no gradient in most steps.
    norms = np.where(evidence.norms > 0, evidence.norms, np.nan)[:, ~aside]
    relative = nanmedian(norms) / np.where(evidence.weights > 0, evidence.weights, np.nan)[~aside]
    known = relative[np.isfinite(relative)]
    spread = float(known.min() / known.max()) if len(known) and known.max() > 0 else 1.0
    facts: dict[str, float | int | str] = {"smallest_to_largest_layer": spread}
    updates = (
        "How large updates are, compared with the weights, is not known."
        if standing(evidence) == "better"
        else "Only a run can show how training goes."
    )
    if not needs.updates(evidence):
        ratio = float(np.nanmax(evidence.usual_update_ratios))
        facts["median_update_ratio"] = ratio
        updates = (
            f"The median update changes no layer's weights by more than {numbers.norm(ratio)} "
            "times their norm."
        )
    if is_measured_by_guessing(evidence) and evidence.is_whole and evidence.steps > 1:
        last, guessing = float(last_quarter(evidence).mean()), evidence.info.levels.guessing
        facts |= {"last_loss": last, "loss_of_guessing": guessing}
        updates += (
            f" The loss is {numbers.norm(last)}, while a constant output has "
            f"{numbers.norm(guessing)}."
        )
    every = "every trained layer" if aside.any() else "every layer"
    sizes = (
        f"Gradients reach {every}: relative to the weights, the smallest is "
        f"{numbers.norm(spread)} times the largest."
    )
    if norms.shape[1] == 1:
        sizes = f"Gradients reach the only {'trained ' if aside.any() else ''}layer."
    return Finding(
        code="healthy",
        severity="info",
        layer=None,
        evidence=facts,
        threshold=f"none of: {', '.join(dict.fromkeys(tested))}",
        message=f"{sizes} {updates}{_of_a_sum(evidence)}",
        override=None,
    )


def _is_shown_to_learn(evidence: Evidence) -> bool:
    """Whether the loss has left that of guessing, whatever it began with."""
    if is_measured_by_guessing(evidence):
        # A small gain may be all there is to learn, but not while the loss still falls.
        slow = loss_kept(evidence) > LOSS_KEPT.value and still_falls(evidence)
        return standing(evidence) == "better" and not slow
    return has_known_zero(evidence) and not loss_kept(evidence) > LOSS_KEPT.value


def _of_a_sum(evidence: Evidence) -> str:
    """Say that several losses were not seen one by one, if the loss is a sum."""
    path = () if evidence.setup is None else evidence.setup.loss_path
    if path[:1] != ("Add",) or not evidence.info.is_own_loop:
        return ""
    return " The loss is a sum: whether each of its terms falls was not seen."


def _changed_midway(evidence: Evidence) -> Finding | None:
    """Return that the loss rose at once and stays up, which may be meant; None if it did not."""
    jump = loss_that_stays_up(evidence)
    if jump is None:
        return None
    last = evidence.convergence.last_loss
    return Finding(
        code="undetermined",
        severity="info",
        layer=None,
        evidence={
            "from_step": jump.step,
            "loss_before": jump.before,
            "loss_after": jump.after,
            "last_loss": last,
        },
        threshold=f"{FEWEST_STEPS} losses above the {FEWEST_STEPS} before them, in the median more "
        f"than {SPIKE_HARM} times as high, with no large update, spike or jump of the learning "
        "rate before, and a loss that does not fall from then on",
        message=f"Not sure: at step {jump.step} the loss rose at once from "
        f"{numbers.norm(jump.before)} to {numbers.norm(jump.after)}, although no update before it "
        f"was large, and it ends at {numbers.norm(last)}. Unless harder data were meant to begin "
        "there, some inputs or labels are wrong from then on: compare batches from before and "
        "after that step.",
        override=None,
        mend=f"See what changes at step {jump.step} in how inputs and labels are made; keep both "
        "in the same order.",
    )


def _too_large_to_judge(evidence: Evidence) -> Finding | None:
    """Return that updates are large, if the loss cannot tell whether they do harm."""
    tells = judges_loss(evidence) and should_fall(evidence)
    if is_measured_by_guessing(evidence):  # how low it could be is not known
        tells = loss_left(evidence) < SETTLED_LEFT.value
    if needs.updates(evidence) or tells:
        return None
    place = int(np.nanargmax(evidence.usual_update_ratios))
    ratio, name = float(evidence.usual_update_ratios[place]), evidence.layers[place].name
    if not ratio > LARGE_UPDATE.value:
        return None
    return Finding(
        code="undetermined",
        severity="info",
        layer=name,
        evidence={"update_ratio": ratio},
        threshold=f"a usual update above {LARGE_UPDATE} of a layer's weights "
        f"({LARGE_UPDATE.source}), under a loss that need not fall, or can fall nobody knows how "
        "far",
        message=f"Not sure: the usual update changes the weights of {name} by {ratio:.0%} of their "
        "norm, while a thousandth is common, and this loss does not tell whether that does harm. "
        "A run with a tenth of the learning rate would.",
        override=None,
        mend="Train with a tenth of the learning rate, and compare.",
    )


def _not_yet_learned(evidence: Evidence) -> Finding | None:
    """Return that the loss has hardly fallen so far, if that is all there is to say."""
    falls = evidence.convergence.trend == "falling"
    if is_measured_by_guessing(evidence):
        above = evidence.convergence.last_loss - evidence.info.levels.guessing
        slow = standing(evidence) == "worse" and may_still_fall(evidence, above)
        falls = still_falls(evidence) or slow
    if not falls or not loss_kept(evidence) > LOSS_KEPT.value:
        return None
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    guessing = evidence.info.levels.guessing if is_measured_by_guessing(evidence) else math.nan
    aside = "" if math.isnan(guessing) else f" A constant output has {numbers.norm(guessing)}."
    return Finding(
        code="undetermined",
        severity="info",
        layer=None,
        evidence={"first_loss": first, "last_loss": last, "steps": evidence.steps},
        threshold=f"a loss that falls beyond chance, but is above {LOSS_KEPT} of the first one",
        message=f"Not sure: the loss falls, but in {evidence.steps} steps it only went from "
        f"{numbers.norm(first)} to {numbers.norm(last)}.{aside} More steps would tell whether it "
        "is slow or stuck.",
        override=remedies.longer_training(evidence),
        mend="Train for four times as many steps.",
    )


def _hangs_on_few(evidence: Evidence) -> Finding | None:
    """Return that a few targets are so far from the others that the loss is mostly theirs."""
    if evidence.steps < FEWEST_STEPS or not hangs_on_few(evidence):
        return None
    levels, last = evidence.info.levels, float(last_quarter(evidence).mean())
    return Finding(
        code="undetermined",
        severity="info",
        layer=None,
        evidence={
            "last_loss": last,
            "loss_of_guessing": levels.guessing,
            "share_of_few": levels.of_few,
        },
        threshold="a hundredth of the examples that has more than half of the loss of the best "
        "constant output, and a loss that is not below it",
        message=f"Not sure: a hundredth of the examples has {levels.of_few:.0%} of the loss of a "
        f"constant output, {numbers.norm(levels.guessing)}, because their targets are far from the "
        f"others. So the last loss, {numbers.norm(last)}, does not tell whether these are learnt.",
        override=None,
        mend="Look at the examples with the largest and the smallest targets; if they are right, "
        "use a loss that grows less with the distance (l1, Huber), or the targets' logarithm.",
    )


def _not_better_for_certain(evidence: Evidence) -> Finding | None:
    """Return that the loss does not tell whether the model is better than a constant output."""
    levels, last = evidence.info.levels, evidence.convergence.last_loss
    facts: dict[str, float | int | str]
    override = None
    if standing(evidence) == "unsure":
        best = min((one.loss for one in evidence.evals if one.split == "val"), default=math.nan)
        facts = {"last_loss": last, "loss_of_guessing": levels.guessing, "best_val_loss": best}
        seen = (
            f"on training batches the loss is {numbers.norm(last)}, where a constant output has "
            f"{numbers.norm(levels.guessing)}, but "
            + (
                "there are no other examples that would tell whether that is learnt by heart"
                if math.isnan(best)
                else f"on other examples {numbers.norm(best)}, and a constant output "
                f"{numbers.norm(levels.guessing_val)}: with {evidence.info.data.val} examples that "
                "may be chance"
            )
        )
        advice = "Validate on more examples."
    elif standing(evidence) == "memorised":
        best = min(one.loss for one in evidence.evals if one.split == "val")
        facts = {"last_loss": last, "loss_of_guessing": levels.guessing, "best_val_loss": best}
        seen = (
            f"on training batches the loss is {numbers.norm(last)}, where a constant output has "
            f"{numbers.norm(levels.guessing)}, and on other examples {numbers.norm(best)}, where "
            f"one has {numbers.norm(levels.guessing_val)}, but there it still falls"
        )
        advice = "Train for four times as many steps."
        override = remedies.longer_training(evidence)
    elif not has_known_zero(evidence):
        first = evidence.convergence.first_loss
        facts = {"first_loss": first, "last_loss": last}
        seen = (
            f"the loss went from {numbers.norm(first)} to {numbers.norm(last)}, but what "
            "the best constant output would cost "
            + (
                "is not known: the examples are streams, and only reading all of them would tell"
                if levels.streamed
                else "under this loss is not known"
            )
        )
        advice = "Compare the last loss with that of the best constant output."
    else:
        return None
    return Finding(
        code="undetermined",
        severity="info",
        layer=None,
        evidence=facts,
        threshold=f"a loss below that of the best constant output by more than {BEYOND_CHANCE} "
        f"standard errors, on examples that were not learnt from ({BEYOND_CHANCE.source})",
        message=f"Not sure: {seen}. No rule found anything wrong. {advice}",
        override=override,
        mend=advice,
    )


def _undetermined(evidence: Evidence) -> Finding:
    """Return that something may be wrong, and what would tell."""
    silent = np.flatnonzero(_silent_in_the_end(evidence))
    names = [evidence.layers[place].name for place in silent]
    since = {int(evidence.silent_since[place]) for place in silent if len(evidence.silent_since)}
    when = f"from step {since.pop()} on " if len(since) == 1 else "over the last part of the run "
    seen = (
        f"{when}{named(names)} got no gradient"
        if names
        else "a trained layer was not moved over the last part of the run"
        if _stands_still(evidence)
        else f"the loss ends at {numbers.norm(evidence.convergence.last_loss)}, and hardly below "
        "that of guessing, if at all"
    )
    how = (
        " If that is not meant, look at what changed there: a part of the loss that ended, "
        "detach(), torch.no_grad(), or a module that was replaced."
        if names and evidence.info.is_own_loop
        else " GradientMonitor(every=1) for a few steps shows whether its weights move."
        if evidence.info.is_own_loop and _stands_still(evidence)
        else " Look at some inputs beside their labels."
        if evidence.info.is_own_loop
        else " A probe of the model tells more: --probe signals."
    )
    return Finding(
        code="undetermined",
        severity="info",
        layer=names[0] if len(names) == 1 else None,
        evidence={"layers": len(names)} if names else {},
        threshold="a trained layer without gradient, or not moved, in the last tenth of the steps, "
        f"or a loss above {LOSS_KEPT} of that of guessing",
        message=f"Not sure: {seen}, and no rule explains it.{how}",
        override=None,
    )


def _stands_still(evidence: Evidence) -> bool:
    """Whether a trained layer was not moved over the last part of the run."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    still = ~evidence.moved_by_updates | (evidence.still_since > 0)
    return bool((still & ~aside).any())


def _silent_in_the_end(evidence: Evidence) -> list[bool]:
    """Tell of each trained layer whether it has no gradient in the last tenth of the steps."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    last_norms = evidence.norms[len(evidence.norms) * 9 // 10 :]
    silent: list[bool] = ((last_norms == 0).all(axis=0) & ~aside).tolist()
    return silent if len(last_norms) else (~aside).tolist()
