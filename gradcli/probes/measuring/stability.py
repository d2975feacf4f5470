"""The largest curvature at which an optimizer's own steps are stable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Threshold:
    """When an optimizer steps stably on a quadratic, with its state held fixed.

    It does while the largest eigenvalue of P^-1/2 H P^-1/2 is below `sharpness`, with the Hessian
    H and the diagonal matrix P that the optimizer divides the gradient by.
    """

    sharpness: float
    rule: str
    """The formula of the threshold in the optimizer's own settings."""
    preconditioner: dict[str, Tensor] | None
    """The diagonal of P by parameter; None for the identity."""


def stability_threshold(optimizer: torch.optim.Optimizer, model: nn.Module) -> Threshold | None:
    """Return the threshold of `optimizer`, in its present state, on the parameters of `model`.

    Gradient descent has 2/lr; heavy ball (2 + 2 beta)/lr and Nesterov's momentum
    (2 + 2 beta)/((1 + 2 beta) lr), of a gradient scaled by dampening: Cohen et al. 2021, arXiv
    2103.00065. Adam and AdamW have (2 + 2 beta1)/((1 - beta1) lr), which is 38/lr for
    beta1 = 0.9, with P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps); RMSprop and Adagrad
    that of descent or heavy ball, with P their divisor: Cohen et al. 2022, arXiv
    2207.14484. Weight decay, which adds to H, is ignored.

    Groups with other learning rates are scaled to the first group's through P. Costs no pass.

    Returns:
        None if no threshold is known: for other optimizers, at a learning rate of zero, for
        groups that differ in their momentum, and before the first step of an optimizer that
        divides by its state.
    """
    rules = [_rule_of(type(optimizer), group) for group in optimizer.param_groups]
    known = [rule for rule in rules if rule is not None and rule.learning_rate > 0]
    if len(known) < len(rules) or len({rule.factor for rule in known}) > 1:
        return None
    first = known[0]
    names = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    states = [
        (names[id(parameter)], parameter, rule, optimizer.state.get(parameter, {}))
        for group, rule in zip(optimizer.param_groups, known, strict=True)
        for parameter in group["params"]
        if id(parameter) in names
    ]
    stepped = any(float(state.get("step", 0)) > 0 for _, _, _, state in states)
    if first.divisor is not None and not stepped:
        return None
    plain = first.divisor is None and len({rule.learning_rate for rule in known}) == 1
    preconditioner = {
        name: _divisor(rule, parameter, state) * (first.learning_rate / rule.learning_rate)
        for name, parameter, rule, state in states
    }
    return Threshold(
        sharpness=first.factor / first.learning_rate,
        rule=first.formula,
        preconditioner=None if plain else preconditioner,
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    """One group's threshold, `factor / learning_rate`, and what it divides the gradient by."""

    factor: float
    formula: str
    learning_rate: float
    divisor: Callable[[State], Tensor] | None = None


def _rule_of(kind: type[torch.optim.Optimizer], group: dict[str, Any]) -> _Rule | None:
    """Return the rule of a group; None if it is not known, as for a subclass."""
    if group.get("maximize"):
        return None
    rate = float(group["lr"])
    if kind is torch.optim.SGD:
        return _sgd(group, rate)
    if kind in (torch.optim.Adam, torch.optim.AdamW):
        return _adam(group, rate)
    if kind is torch.optim.RMSprop:
        return _rmsprop(group, rate)
    if kind is torch.optim.Adagrad:
        return _Rule(2.0, "2 / lr", rate, _adagrad_divisor(group))
    return None


def _sgd(group: dict[str, Any], rate: float) -> _Rule:
    beta = float(group["momentum"])
    if not beta:
        return _Rule(2.0, "2 / lr", rate)
    if group["nesterov"]:
        formula = "(2 + 2 momentum) / ((1 + 2 momentum) lr)"
        return _Rule((2 + 2 * beta) / (1 + 2 * beta), formula, rate)
    if group["dampening"]:
        formula = "(2 + 2 momentum) / ((1 - dampening) lr)"
        return _Rule((2 + 2 * beta) / (1 - group["dampening"]), formula, rate)
    return _Rule(2 + 2 * beta, "(2 + 2 momentum) / lr", rate)


def _adam(group: dict[str, Any], rate: float) -> _Rule:
    beta1, beta2 = map(float, group["betas"])

    def divisor(state: State) -> Tensor:
        step = float(state["step"])
        first_seen, second_seen = (1 - math.pow(beta, step) for beta in (beta1, beta2))
        square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
        root: Tensor = (square / second_seen).sqrt() + group["eps"]
        return root * first_seen

    factor = (2 + 2 * beta1) / (1 - beta1)
    return _Rule(factor, "(2 + 2 beta1) / ((1 - beta1) lr)", rate, divisor)


def _rmsprop(group: dict[str, Any], rate: float) -> _Rule:
    def divisor(state: State) -> Tensor:
        square = state["square_avg"]
        if group["centered"]:
            square = square - state["grad_avg"].square()
        root: Tensor = square.sqrt() + group["eps"]
        return root

    beta = float(group["momentum"])
    return _Rule(2 + 2 * beta, "(2 + 2 momentum) / lr", rate, divisor)


def _adagrad_divisor(group: dict[str, Any]) -> Callable[[State], Tensor]:
    def divisor(state: State) -> Tensor:
        root: Tensor = state["sum"].sqrt() + group["eps"]
        return root.mul_(1 + (float(state["step"]) - 1) * group["lr_decay"])

    return divisor


def _divisor(rule: _Rule, parameter: Tensor, state: State) -> Tensor:
    """Return what the gradient of `parameter` is divided by, in its shape.

    A parameter that no gradient ever reached has no state, and no curvature to divide.
    """
    if rule.divisor is None or not float(state.get("step", 0)):
        return torch.ones_like(parameter, requires_grad=False)
    return rule.divisor(state).detach()
