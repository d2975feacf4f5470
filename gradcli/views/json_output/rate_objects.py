"""A search for a learning rate as a JSON object: the proposal, its interval, and every loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradcli.views.json_output.json_values import SCHEMA, data_json, jsonable

if TYPE_CHECKING:
    from gradcli.comparison.best_rate import FoundRate, RateLosses


def found_rate_json(found: FoundRate) -> dict[str, Any]:
    """Return what a search for a learning rate found as a JSON object."""
    proposed, search, info = found.proposed, found.search, found.info
    result = {
        "schema": SCHEMA,
        "status": "found" if proposed.is_found else "cannot-say",
        "reason": proposed.reason or None,
        "learning_rate": proposed.rate,
        "interval": proposed.interval,
        "overrides": found.overrides,
        "data": data_json(info.data),
        "model": {"name": info.model, "parameters": info.model_size},
        "optimizer": {"name": info.optimizer, "lr": search.centre},
        "device": info.device,
        "seeds": search.seeds,
        "steps": search.steps,
        "total_steps": search.total_steps,
        "judged_by": found.judged_by,
        "of_seeds": proposed.of_seeds,
        "lowered_by": proposed.lowered_by,
        "longer_at_first": search.longer_at_first,
        "hardly_trains": proposed.hardly_trains,
        "scouted": [_rate(one) for one in proposed.scouted],
        "rehearsed": [_rate(one) for one in proposed.rehearsed],
        "rehearsals": found.rehearsals,
        "seconds": found.seconds,
        "next": found.commands,
    }
    written: dict[str, Any] = jsonable(result)
    return written


def _rate(one: RateLosses) -> dict[str, Any]:
    return {"lr": one.rate, "steps": one.steps, "losses": one.losses}
