"""Rules on noise: does a batch tell enough of the examples that it does not hold?"""

from __future__ import annotations

from collections.abc import Iterator

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import HALF_LEFT, NOISE_SCALE, SCATTER, STILL_TO_LEARN, TINY_BATCH
from gradcli.diagnosis.loss_course import has_learned, loss_left
from gradcli.diagnosis.which_loss import is_measured_by_guessing
from gradcli.notation import numbers
from gradcli.records import Finding

# The scatter that the proposed larger batch should bring.
_GOOD_SCATTER = 0.3


def noise_dominated(evidence: Evidence) -> Iterator[Finding]:
    """A batch holds more noise than signal while there is still much to learn."""
    scatter = evidence.convergence.scatter
    # What is left of a loss that is measured by guessing may be due to the targets alone.
    is_measured = is_measured_by_guessing(evidence)
    has_left = not is_measured and loss_left(evidence) > STILL_TO_LEARN.value
    if has_left and 0 < evidence.batch_size <= TINY_BATCH.value:
        yield _tiny_batches(evidence)
        return
    scale = evidence.probed.noise_scale if evidence.probed is not None else None
    size = evidence.info.batch_size
    if has_left and scatter > SCATTER.value:
        yield Finding(
            code="noise-dominated",
            severity="warning",
            layer=None,
            evidence={"loss_scatter": scatter, "batch_size": size},
            threshold=f"losses of consecutive batches that differ by more than {SCATTER} of the "
            f"loss, with more than {STILL_TO_LEARN} of it left ({SCATTER.source})",
            message=f"Noise dominates: the loss changes by {scatter:.0%} from one batch to the "
            "next, so single steps go in almost random directions. Larger batches reduce the "
            "noise with the square root of their size; a lower learning rate averages over steps.",
            override=remedies.larger_batches(evidence, (scatter / _GOOD_SCATTER) ** 2),
            mend=f"Use batches {(scatter / _GOOD_SCATTER) ** 2:.0f} times as large, or lower the "
            "learning rate.",
        )
    elif scale is not None and size and scale[1] > NOISE_SCALE.value * size:
        # Near a minimum the mean gradient goes to zero and the noise does not: that is normal.
        late = has_learned(evidence) if is_measured else loss_left(evidence) < HALF_LEFT.value
        yield Finding(
            code="noise-dominated",
            severity="info" if late else "warning",
            layer=None,
            evidence={
                "noise_scale": scale[0],
                "noise_scale_low": scale[1],
                "noise_scale_high": scale[2],
                "batch_size": size,
            },
            threshold=f"a noise scale above {NOISE_SCALE} batches ({NOISE_SCALE.source})",
            message=f"Noise dominates: it takes about {numbers.norm(scale[0])} examples for as "
            f"much signal as noise in the gradient, and a batch has {size}."
            + (
                " That is normal late in training; larger batches or a lower learning rate would "
                "still help."
                if late
                else ""
            ),
            override=remedies.larger_batches(evidence, min(scale[0], scale[1] * 2) / size),
        )


def _tiny_batches(evidence: Evidence) -> Finding:
    size = evidence.batch_size
    scatter = evidence.convergence.scatter
    return Finding(
        code="noise-dominated",
        severity="warning",
        layer=None,
        evidence={"batch_size": size, "loss_scatter": scatter, "loss_left": loss_left(evidence)},
        threshold=f"batches of at most {TINY_BATCH}, with more than {STILL_TO_LEARN} of the loss "
        f"left ({TINY_BATCH.source})",
        message=f"Noise dominates: a batch has {numbers.count(size, 'example')}, so single steps "
        "go in almost random directions. Larger batches reduce the noise with the square root of "
        "their size; a lower learning rate averages over steps.",
        override=remedies.larger_batches(evidence, 64 / size),
        mend=f"Raise the batch size from {size} to 32 or more, or lower the learning rate.",
    )
