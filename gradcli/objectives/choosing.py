"""From what a user names to an objective: a loss, the metric that decides, and further ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from gradcli.errors import UserError, nearest
from gradcli.objectives.guessing import levels_of_function
from gradcli.objectives.named_metrics import measure_named
from gradcli.objectives.objective import LossFunction, Measure, Objective, ScoreFunction
from gradcli.objectives.shipped import objective_named
from gradcli.records import Direction, Metric

#: A metric by name; or one of the user's own: its name, its function, and which scores are better.
MetricChoice = str | tuple[str, ScoreFunction, Direction]

_DIRECTIONS: Final = ("maximize", "minimize")


def chosen_objective(
    loss: str | LossFunction, metric: MetricChoice | None, metrics: Sequence[MetricChoice] = ()
) -> Objective:
    """Return the objective that a user has described.

    Args:
        loss: its name, or a function.
        metric: what decides; None is what goes with the loss.
        metrics: what is recorded and shown as well.

    Raises:
        UserError: if one of them is none, or two metrics have the same name.
    """
    objective = _of_loss(loss)
    if isinstance(metrics, str) or not isinstance(metrics, Sequence) or _is_own(metrics):
        raise UserError(
            f"Further metrics come in a list, not as a {type(metrics).__name__}.",
            where="metrics",
            hint='metrics=["mae", ("rmse", rmse, "minimize")]',
        )
    further = tuple(_measure(one, objective, "metrics") for one in metrics)
    if metric is not None:
        own = _measure(metric, objective, "metric")
        objective = replace(objective, metric=own.metric, score=own.score, of_mean=own.of_mean)
    names = Counter(one.metric.name for one in (*objective.measures, *further))
    if twice := [name for name, count in names.items() if count > 1]:
        raise UserError(
            f"Two metrics are named '{twice[0]}': their scores could not be told apart.",
            where="metrics",
            hint="a name of its own for each, and each metric once",
        )
    return replace(objective, further=further)


def _of_loss(loss: Any) -> Objective:
    if isinstance(loss, str):
        return objective_named(loss)
    if isinstance(loss, type):
        raise UserError(
            f"{loss.__name__} is a class; the loss is an object of it, or a function.",
            where="loss",
            hint=f"loss={loss.__name__}()",
        )
    if callable(loss):
        own = getattr(loss, "__name__", type(loss).__name__)
        return Objective(
            name=own,
            loss=loss,
            metric=Metric("loss", "minimize"),
            score=loss,
            levels=levels_of_function(loss),
        )
    raise UserError(
        f"A loss is a name or a function, not a {type(loss).__name__}.",
        where="loss",
        hint='loss="mse", or a function of (outputs, targets)',
    )


def _measure(metric: Any, objective: Objective, where: str) -> Measure:
    if isinstance(metric, str):
        return measure_named(metric, objective)
    match metric:
        case (str(name), score, direction) if callable(score):
            if direction not in _DIRECTIONS:
                raise UserError(
                    f"The direction of {name} is {direction!r}; it says which scores are better.",
                    where=where,
                    choices=nearest(str(direction), _DIRECTIONS) or _DIRECTIONS,
                )
    if not _is_own(metric):
        raise UserError(
            "A metric is a name, a function of (outputs, targets) and a direction.",
            where=where,
            hint='metric=("rmse", rmse, "minimize")',
        )
    name, score, direction = metric
    if not name.isprintable() or not name.strip():
        raise UserError(
            f"A metric cannot be named {name!r}: screens and tables show the name.",
            where=where,
            hint="a name of letters that can be printed, such as rmse",
        )
    return Measure(Metric(name, direction), score)


def _is_own(metric: Any) -> bool:
    """Whether a value is a name, a function and a direction."""
    match metric:
        case (str(), score, "maximize" | "minimize"):
            return callable(score)
    return False
