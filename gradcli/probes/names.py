"""The costly probes by the names under which they are asked for. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.errors import UserError, nearest

#: The probes that may be asked for, each with what it costs in forward-backward passes of a batch.
PROBES = {
    "signals": "one pass a batch of the probe set; made with any other, and of every fresh model",
    "histograms": "one pass",
    "noise": "40 to 250, for the gradients of 256 examples one by one, twice; in a recurrent model "
    "one an example",
    "sharpness": "40 to 360",
    "descent": "one, and 25 forward ones, in float64",
    "hidden-states": "one, several times slower than a fused one; of recurrent models",
    "cosine": "six training steps, on a copy",
    "alpha": "five training steps, on a copy, and two passes for each",
}
#: What looks at the derivative itself; asked for by a flag of its own.
CHECK = "check"


def choose_probes(
    names: Sequence[str], *, where: str = "--probe", ask: str = "--probe {}"
) -> tuple[str, ...]:
    """Return the probes that `names` stand for, in the order in which they are made.

    Args:
        names: the names; `all` stands for every probe.
        where: the option or key that they come from, for the error.
        ask: how one is asked for there, with `{}` for its name.

    Raises:
        UserError: for a name that is none.
    """
    for name in names:
        if name not in (*PROBES, "all"):
            likely = nearest(name, [*PROBES, "all"])
            raise UserError(
                f"There is no probe '{name}'.",
                where=where,
                choices=likely or list(PROBES),
                hint="--check" if name == CHECK else ask.format((likely or ["all"])[0]),
            )
    return tuple(name for name in PROBES if name in names or "all" in names)
