"""The probes that can be requested: the shipped ones, and those that the user adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradcli.errors import UserError, nearest
from gradcli.probes.alpha import ALPHA
from gradcli.probes.check import CHECK
from gradcli.probes.cosine import COSINE
from gradcli.probes.descent import DESCENT
from gradcli.probes.hidden_states import HIDDEN_STATES
from gradcli.probes.histograms import HISTOGRAMS
from gradcli.probes.noise import NOISE
from gradcli.probes.probe import Probe, Reading
from gradcli.probes.sharpness import SHARPNESS
from gradcli.probes.signals import SIGNALS

#: In the order in which they run and are shown.
SHIPPED: tuple[Probe[Any], ...] = (
    *(SIGNALS, HISTOGRAMS, NOISE, SHARPNESS, DESCENT, HIDDEN_STATES, COSINE, ALPHA, CHECK),
)

_added: dict[str, Probe[Any]] = {}


def add_probe(probe: Probe[Any]) -> None:
    """Register a user's own probe in this process.

    Raises:
        UserError: another probe has its name.
    """
    other = find_probe(probe.name)
    if other is not None and other is not probe:
        raise UserError(f"There are two probes called '{probe.name}'.", where=probe.name)
    if other is None:
        _added[probe.name] = probe


def known_probes() -> tuple[Probe[Any], ...]:
    """Return all probes, the shipped ones first."""
    return (*SHIPPED, *_added.values())


def find_probe(name: str) -> Probe[Any] | None:
    """Return the probe of that name; None if there is none."""
    return next((probe for probe in known_probes() if probe.name == name), None)


def reading_of(name: str) -> Reading:
    """Return how the records of a probe are read.

    A stored run may hold records of a probe that this process does not know: those are read as
    plain numbers, under the probe's name.
    """
    probe = find_probe(name)
    return Reading(meaning=name) if probe is None else probe.reading


def selectable_probes() -> dict[str, Probe[Any]]:
    """Return the probes that `--probe` and `monitor.probes` can name."""
    return {probe.name: probe for probe in known_probes() if not probe.own_option}


def choose_probes(
    names: Sequence[str], *, where: str = "--probe", ask: str = "--probe {}"
) -> tuple[Probe[Any], ...]:
    """Return the probes that `names` stand for, in the order in which they are run.

    Args:
        names: the names; `all` stands for every probe.
        where: the option or key that they come from, for the error.
        ask: how to request a probe there, with `{}` for its name.

    Raises:
        UserError: for an unknown name.
    """
    selectable = selectable_probes()
    for name in names:
        if name not in (*selectable, "all"):
            likely = nearest(name, [*selectable, "all"])
            other = find_probe(name)
            own = "" if likely or other else " One of your own needs --allow-import PACKAGE."
            raise UserError(
                f"There is no probe '{name}'.{own}",
                where=where,
                choices=likely or list(selectable),
                hint=ask.format((likely or ["all"])[0]) if other is None else other.own_option,
            )
    return tuple(probe for name, probe in selectable.items() if name in names or "all" in names)
