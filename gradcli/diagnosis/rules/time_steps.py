"""Rules on gradients through time: of the calls and the time steps of one layer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gradcli.diagnosis import remedies
from gradcli.diagnosis.evidence import Evidence, ThroughTime
from gradcli.diagnosis.limits import REACH, STILL_TO_LEARN, THROUGH_TIME
from gradcli.diagnosis.loss_course import loss_kept
from gradcli.notation import numbers
from gradcli.notation.layer_names import and_others
from gradcli.records import Finding


def cut_through_time(evidence: Evidence) -> Iterator[Finding]:
    """The loss depends on few of a layer's calls, as if a state is detached at each time step."""
    setup = evidence.setup
    trained = {layer.name for layer in evidence.layers if not evidence.is_frozen(layer.name)}
    cut = [
        (evidence.info.layers[index].name, reached, count)
        for index, reached, count in (setup.cut_off if setup is not None else ())
        if reached < REACH.value * count
    ]
    cut = [one for one in cut if one[0] in trained]
    if not cut:
        return
    name, reached, count = cut[0]
    yield Finding(
        code="no-gradient",
        severity="warning" if loss_kept(evidence) > STILL_TO_LEARN.value else "info",
        layer=name,
        evidence={"calls": count, "calls_with_gradient": reached, "layers": len(cut)},
        threshold=f"a loss whose graph contains less than {REACH} of a layer's calls "
        f"({REACH.source})",
        message=f"A forward pass calls {name} {count} times, but the loss depends on "
        f"{numbers.count(reached, 'call')} alone: the others get no gradient, so nothing that "
        f"happens in them is learned.{and_others(len(cut) - 1)}",
        override=None,
        mend=f"Look for what cuts the graph between the calls of {name}: detach(), .data or "
        "torch.no_grad() on the state that it hands on, or a state that is made anew.",
    )


def vanishing_through_time(evidence: Evidence, through_time: ThroughTime) -> Iterator[Finding]:
    """Gradients change a thousandfold from one time step of a recurrent layer to another."""
    norms, layer = through_time.norms, through_time.layer
    if not norms.max() > 0:
        return
    largest, last = int(np.argmax(norms)), len(norms) - 1
    weakest = int(np.argmin(norms[: largest + 1]))
    reach = int((norms >= THROUGH_TIME.value * norms[largest]).sum())
    for code, far in (("vanishing", weakest), ("exploding", last)):
        share = float(norms[far] / norms[largest])
        if not share < THROUGH_TIME.value:
            continue
        if code == "vanishing":
            message = (
                f"Gradients vanish through time: the gradient at time step {far + 1} is "
                f"{numbers.norm(share)} times that at time step {largest + 1}. {layer} learns "
                f"from {reach} of its {len(norms)} time steps."
            )
        else:
            message = (
                f"Gradients explode through time: at time step {largest + 1} they are "
                f"{numbers.norm(1 / share)} times those at the last one."
            )
        if through_time.gated:
            message += " Its gates can learn to keep more."
        far_enough = code == "vanishing" and reach >= REACH.value * len(norms)
        harmless = through_time.gated or far_enough
        yield Finding(
            code=code,
            severity="info" if harmless else "warning",
            layer=layer,
            evidence={
                "factor": share,
                "at_time_step": far + 1,
                "time_steps": len(norms),
                "time_steps_reached": reach,
            },
            threshold=f"||dL/dh_t|| below {THROUGH_TIME} of the largest ({THROUGH_TIME.source}); "
            f"a warning if the cell has no gates and less than {REACH} of the time steps are "
            "above that",
            message=message,
            override=None if harmless else remedies.keep_time_steps_alive(evidence),
            mend=""
            if harmless
            else f"Initialise the recurrent matrix of {layer} as an orthogonal one, or use a cell "
            "with gates (GRU, LSTM).",
        )
