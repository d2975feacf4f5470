"""Run as a script: prints, as JSON, in which cases PyTorch's own methods make the update.

Their import of `torch._dynamo` gives them away: here it fails.
"""

import json
import os
import sys
from functools import partial

import torch
from torch.optim import Adam
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from gradcli.fast import gate, without_dynamo
from gradcli.fast.without_dynamo import StepWithoutDynamo, construct, load_state_dict, state_dict


class PyTorchsOwnError(Exception):
    """Raised when PyTorch's own methods import the compiler."""


class NoDynamo:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "torch._dynamo":
            raise PyTorchsOwnError


class OnesOwn(Adam):
    """A class that is not in torch.optim, though nothing in it differs."""


def own(act):
    """Whether PyTorch's own method does what `act` does."""
    try:
        act()
    except PyTorchsOwnError:
        return True
    return False


def groups():
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    return [{"params": [parameter]}]


def adam(**settings):
    return construct(Adam, groups(), settings)


def after(remove, act):
    """Whether PyTorch's own method does it while something is registered; then remove that."""
    try:
        return own(act)
    finally:
        remove.remove()


def nothing(*anything):
    pass


def profiled(update):
    with torch.autograd.profiler.profile():
        return own(update)


def with_scheduler(update, optimizer):
    """As a scheduler of torch's patches an optimizer, whose steps it counts."""
    step = optimizer.step
    optimizer.step = partial(step)
    update_is_own = own(update)
    del optimizer.step
    return update_is_own


def with_other_step(update):
    original = Adam.step
    Adam.step = lambda self: original(self)
    try:
        return own(update)
    finally:
        Adam.step = original


def with_other_wrapper():
    original = Optimizer.add_param_group
    Optimizer.add_param_group = lambda self, group: original(self, group)
    try:
        return own(adam)
    finally:
        Optimizer.add_param_group = original


def with_dynamo_loaded(update):
    """Whatever `step` is called, it is PyTorch's: a stand-in is enough to be seen as loaded."""
    sys.modules["torch._dynamo"] = sys
    try:
        return update._is_watched() and without_dynamo._is_known(Adam) is False
    finally:
        del sys.modules["torch._dynamo"]


def with_another_release(act):
    proven, gate.PROVEN = gate.PROVEN, frozenset()
    try:
        return own(act)
    finally:
        gate.PROVEN = proven


def switched_off(act):
    os.environ[gate.SWITCH] = "0"
    try:
        return own(act)
    finally:
        del os.environ[gate.SWITCH]


def main():
    sys.meta_path.insert(0, NoDynamo)
    optimizer = adam()
    update = StepWithoutDynamo(optimizer)
    state = state_dict(optimizer)
    print(
        json.dumps(
            {
                "constructor": own(adam),
                "step": own(update),
                "state_dict": own(lambda: state_dict(optimizer)),
                "load_state_dict": own(lambda: load_state_dict(optimizer, state)),
                "hook before": after(optimizer.register_step_pre_hook(nothing), update),
                "hook after": after(optimizer.register_step_post_hook(nothing), update),
                "any hook before": after(register_optimizer_step_pre_hook(nothing), update),
                "any hook after": after(register_optimizer_step_post_hook(nothing), update),
                "profiler": profiled(update),
                "scheduler": with_scheduler(update, optimizer),
                "differentiable": own(StepWithoutDynamo(adam(differentiable=True))),
                "another step": with_other_step(update),
                "another wrapper": with_other_wrapper(),
                "another class": own(lambda: construct(OnesOwn, groups(), {})),
                "another release": with_another_release(adam),
                "another release, step": with_another_release(
                    lambda: StepWithoutDynamo(optimizer)()
                ),
                "switched off": switched_off(adam),
                "switched off, step": switched_off(lambda: StepWithoutDynamo(optimizer)()),
                "compiler": with_dynamo_loaded(update),
                "step, all of it over": own(update),
            }
        )
    )


if __name__ == "__main__":
    main()
