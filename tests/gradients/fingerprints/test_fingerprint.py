"""Fingerprints of tensors, and those that are taken of a step."""

import numpy as np
import pytest
import torch
from torch import nn

from gradcli.gradients.fingerprints.fingerprint import added, fingerprint
from gradcli.gradients.fingerprints.fingerprint_watch import FingerprintWatch
from gradcli.gradients.layers import find_layers


def expected(tensor):
    """The same by NumPy, in whole numbers of any size."""
    octets = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    whole = len(octets) // 8 * 8
    total = sum(np.frombuffer(octets[:whole], dtype="<i8").tolist()) + sum(octets[whole:])
    return (total + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (64, 9)])
def test_it_is_the_sum_of_the_bits(shape, dtype):
    tensor = (100 * torch.randn(shape)).to(dtype)
    assert fingerprint(tensor) == expected(tensor)


@pytest.mark.parametrize("bit", [0, 17, 31])
@pytest.mark.parametrize("place", [0, 6])
def test_any_flipped_bit_changes_it(bit, place):
    tensor = torch.randn(7)
    before = fingerprint(tensor)
    tensor.view(torch.int32)[place] ^= -(2**31) if bit == 31 else 1 << bit
    assert fingerprint(tensor) != before


def test_strides_and_places_in_memory_do_not_matter():
    tensor = torch.randn(2, 3, 4, 5)
    assert fingerprint(tensor.to(memory_format=torch.channels_last)) == fingerprint(tensor)
    shifted = torch.randn(1 + tensor.numel())[1:].copy_(tensor.flatten())
    assert fingerprint(shifted) == fingerprint(tensor)


def test_what_has_no_bits_of_its_own_has_none():
    assert fingerprint(None) is fingerprint(torch.eye(2).to_sparse()) is None
    assert fingerprint(torch.empty(2, device="meta")) is None
    assert added(1, None) is added(None, 1) is None
    assert added(2**63 - 1, 1) == -(2**63)


def test_a_step_is_recorded_in_the_order_of_its_calls():
    first, second = nn.Linear(4, 3), nn.Linear(3, 2)
    model = nn.Sequential(second, first)  # registered the other way round
    model.forward = lambda inputs: second(first(inputs))
    watch = FingerprintWatch(model, find_layers(model), model)
    watch.attach()
    inputs = torch.randn(5, 4)
    model(inputs)
    with torch.no_grad():
        model(inputs + 1)  # an evaluation does not count
    watch.before_update()
    watch.detach()
    model(inputs)
    found = watch.record(3)
    middle = first(inputs)
    assert (found.step, found.order) == (3, (1, 0))
    assert found.inputs == found.layer_inputs[1] == fingerprint(inputs)
    assert found.layer_outputs[1] == found.layer_inputs[0] == fingerprint(middle)
    assert found.weights == tuple(map(fingerprint, model.parameters()))
    assert found.output_types == ("float32", "float32")
    flat = middle.detach().flatten()
    assert found.output_samples[1] == tuple(flat[[0, 4, 9, 14]].double().tolist())
