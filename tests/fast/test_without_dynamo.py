"""Optimizers without `torch._dynamo`: the same bits, and PyTorch's own way if that matters."""

import json
from pathlib import Path

import pytest
import torch
from torch.optim import Adam

from gradcli.fast import gate
from gradcli.fast.without_dynamo import StepWithoutDynamo, construct

HERE = Path(__file__).parent


def answer(spawn, script, **environment):
    """What one of the scripts next to this file prints. A new process has no dynamo yet."""
    done = spawn(str(HERE / script), **environment)
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_every_shipped_optimizer_updates_to_the_same_bits(spawn):
    ours = answer(spawn, "updates_of_all.py")
    pytorchs = answer(spawn, "updates_of_all.py", GRADCLI_FAST="0")
    assert ours["digests"] == pytorchs["digests"]
    assert len({digest for digest in ours["digests"].values() if digest}) > 20
    assert (ours["loaded"], pytorchs["loaded"]) == (not gate.is_open(), True)


@pytest.mark.skipif(not gate.is_open(), reason="the gate is closed: PyTorch goes its own way")
def test_pytorch_goes_its_own_way_if_something_would_notice(spawn):
    own = answer(spawn, "who_updates.py")
    plain = ("constructor", "step", "state_dict", "load_state_dict", "step, all of it over")
    assert {case for case in own if not own[case]} == set(plain)
    assert len(own) > len(plain) + 10


def parameter():
    one = torch.nn.Parameter(torch.ones(3))
    one.grad = torch.ones(3)
    return one


def test_hooks_that_come_later_are_called():
    optimizer = construct(Adam, [{"params": [parameter()]}], {})
    update, called = StepWithoutDynamo(optimizer), []
    update()
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    update()
    assert called == ["after"]


def test_a_scheduler_of_torchs_sees_the_steps():
    """It warns, which is an error here, if it is stepped and has not seen the optimizer step."""
    optimizer = construct(Adam, [{"params": [parameter()]}], {"lr": 1.0})
    update = StepWithoutDynamo(optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    update()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.5


def test_an_optimizer_is_left_as_its_constructor_makes_it():
    ours = construct(Adam, [{"params": [("a", parameter())]}], {"lr": 0.5})
    pytorchs = Adam([{"params": [("a", parameter())]}], lr=0.5)
    assert type(ours) is Adam
    assert vars(ours).keys() == vars(pytorchs).keys()
    assert ours.param_groups[0].keys() == pytorchs.param_groups[0].keys()
    ours.add_param_group({"params": [("b", parameter())]})
    assert ours.param_groups[1]["param_names"] == ["b"]


def test_what_the_constructor_refuses_is_refused():
    with pytest.raises(ValueError, match="learning rate"):
        construct(Adam, [{"params": [parameter()]}], {"lr": -1.0})
    with pytest.raises(TypeError, match="nonsense"):
        construct(Adam, [{"params": [parameter()]}], {"nonsense": 1})
