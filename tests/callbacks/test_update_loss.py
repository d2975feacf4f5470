import pytest
import torch

from gradcli.callbacks.update_loss import UpdateLoss


def loss_of(value, dtype=torch.float32):
    parameter = torch.tensor(float(value), dtype=dtype, requires_grad=True)
    return parameter * 1


def test_before_the_first_pass_there_is_none():
    assert UpdateLoss().of_update() is None


def test_one_pass_is_its_own_loss():
    loss, given = UpdateLoss(), loss_of(0.3)
    loss.add(given)
    assert loss.of_update() is given


def test_several_passes_have_the_graph_of_the_last():
    loss = UpdateLoss()
    loss.add(loss_of(1.0))
    loss.add(loss_of(2.0) + 1)
    found = loss.of_update()
    assert found.item() == 4.0
    assert found.grad_fn.next_functions[0][0].name().startswith("Add")


def test_passes_are_added_up_and_the_next_update_begins_anew():
    loss = UpdateLoss()
    for value in (1.0, 2.0, 4.0):
        loss.add(loss_of(value))
    assert (loss.passes, loss.of_update().item()) == (3, 7.0)
    loss.add(loss_of(5.0))
    assert loss.of_update(factor=3.0).item() == 15.0


def test_an_update_without_a_pass_of_its_own_has_the_loss_of_the_one_before():
    loss = UpdateLoss()
    loss.add(loss_of(2.0))
    assert [loss.of_update(2.0).item(), loss.of_update().item()] == [4.0, 4.0]
    assert loss.of_update().grad_fn is None  # the graph is not kept


def test_a_scale_is_taken_out():
    loss = UpdateLoss()
    loss.add(loss_of(3.0 * 1024), torch.tensor(1024.0))
    assert loss.of_update().item() == 3.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_numbers_are_added_up_in_float32(dtype):
    loss = UpdateLoss()
    for _ in range(3):
        loss.add(loss_of(256.0, dtype))
        loss.add(loss_of(1 / 256, dtype))
    assert loss.of_update().item() == 768 + 3 / 256


def test_the_given_loss_stays_as_it_was():
    loss, given = UpdateLoss(), loss_of(2.0)
    loss.add(given)
    loss.add(given)
    assert loss.of_update().item() == 4.0
    assert given.item() == 2.0
