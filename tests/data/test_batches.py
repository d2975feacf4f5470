import numpy as np
import pytest
import torch

from gradcli.data import Batches, Split, epoch_order
from gradcli.errors import UserError

MEAN, STD = 0.13, 0.31


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 256, (53, 1, 6, 7), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 9, (53,), generator=generator))


def batches(split, **changes):
    settings = {"batch_size": 16, "normalize": "mean_std", "mean": MEAN, "std": STD}
    return Batches(split, **{**settings, **changes})


@pytest.mark.parametrize(
    ("normalize", "tolerance", "reference"),
    [
        ("mean_std", 1e-6, lambda pixels: (pixels / 255 - MEAN) / STD),
        ("0-1", 1e-6, lambda pixels: pixels / 255),
        ("none", 0, lambda pixels: pixels),
    ],
)
def test_a_batch_is_what_float64_makes_of_it(split, normalize, tolerance, reference):
    indices = torch.tensor([5, 0, 52, 5])
    inputs, labels = batches(split, normalize=normalize).gather(indices)
    expected = reference(split.inputs.numpy().astype(np.float64)[indices.numpy()])
    assert inputs.dtype == torch.float32
    assert inputs.shape == (4, 1, 6, 7)
    np.testing.assert_allclose(inputs.numpy().astype(np.float64), expected, rtol=0, atol=tolerance)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [split.targets[index] for index in (5, 0, 52, 5)]


def test_an_epoch_visits_every_example_once_and_ends_with_a_short_batch(split):
    source, order = batches(split, normalize="none"), epoch_order(len(split), 0, 1)
    assert source.steps_per_epoch == 4
    seen = [
        (batch.examples, batch.inputs.clone(), batch.targets.clone())
        for batch in source.epoch(0, 1)
    ]
    examples, inputs, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert [len(part[0]) for part in seen] == [16, 16, 16, 5]
    assert torch.equal(examples, order)
    assert torch.equal(inputs, split.inputs[order].float())
    assert torch.equal(targets, split.targets[order])


def test_an_epoch_begins_at_any_batch_and_each_can_be_had_again(split):
    source = batches(split, drop_last=True)
    whole = [batch.examples.tolist() for batch in source.epoch(3, 2)]
    assert len(whole) == 3
    for start in range(4):
        assert [batch.examples.tolist() for batch in source.epoch(3, 2, start)] == whole[start:]
    assert [source.again(3, 2, number).examples.tolist() for number in range(3)] == whole


@pytest.mark.parametrize("count", [1, 16, 40, 53, 99])
def test_the_first_examples_are_those_that_a_training_begins_with(split, count):
    source = batches(split, normalize="none")
    inputs, targets = source.first(7, count)
    order = epoch_order(len(split), 7, 1)[:count]
    assert torch.equal(inputs, split.inputs[order].float())
    assert torch.equal(targets, split.targets[order])


def test_in_order_is_the_order_of_the_split(split):
    seen = [(i.clone(), t.clone()) for i, t in batches(split, normalize="none").in_order()]
    inputs, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert torch.equal(inputs, split.inputs.float())
    assert torch.equal(targets, split.targets)


def test_a_sample_is_always_the_same_examples_in_the_order_of_the_split(split):
    split = Split(split.inputs, torch.arange(len(split)))
    source = batches(split)
    seen = [(i.clone(), t.clone()) for i, t in source.sample(20).in_order()]
    inputs, targets = (torch.cat(parts) for parts in zip(*seen, strict=True))
    assert [len(i) for i, _ in seen] == [16, 4]
    assert targets.tolist() == sorted(epoch_order(53, 0, 0)[:20].tolist())
    assert torch.equal(inputs, torch.cat([source.gather(targets[:16])[0].clone(),
                                          source.gather(targets[16:])[0].clone()]))  # fmt: skip
    assert torch.equal(torch.cat([t.clone() for _, t in source.in_order()]), split.targets)
    assert source.sample(53) is source.sample(100) is source


@pytest.mark.parametrize(("batch_size", "steps"), [(16, 3), (53, 1), (1, 53), (52, 1)])
def test_drop_last_leaves_only_whole_batches(split, batch_size, steps):
    assert batches(split, batch_size=batch_size, drop_last=True).steps_per_epoch == steps


def test_a_batch_larger_than_the_split_is_the_whole_split(split):
    loader = batches(split, batch_size=100)
    assert loader.steps_per_epoch == 1
    assert len(loader.gather(torch.arange(53))[0]) == 53


def test_drop_last_that_leaves_nothing_is_refused(split):
    with pytest.raises(UserError, match=r"no batch of \d+ is left of 53"):
        batches(split, batch_size=54, drop_last=True)


def test_the_buffers_are_reused_and_the_split_is_untouched(split):
    before = split.inputs.clone()
    loader = batches(split)
    first, _ = loader.gather(torch.tensor([1, 2]))
    second, _ = loader.gather(torch.tensor([3, 4]))
    assert first.data_ptr() == second.data_ptr()
    assert torch.equal(split.inputs, before)


def test_images_that_are_all_alike_stay_finite(split):
    inputs, _ = batches(split, mean=0.5, std=0.0).gather(torch.arange(4))
    assert torch.isfinite(inputs).all()


@pytest.mark.parametrize("count", [1, 2, 53, 1000])
def test_every_order_is_a_permutation(count):
    assert epoch_order(count, seed=4, epoch=2).sort().values.tolist() == list(range(count))


def test_orders_differ_by_seed_and_epoch_and_by_nothing_else():
    orders = {
        (seed, epoch): tuple(epoch_order(100, seed, epoch).tolist())
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(set(orders.values())) == 25
    torch.manual_seed(123)
    assert tuple(epoch_order(100, 3, 4).tolist()) == orders[3, 4]


def test_an_order_leaves_the_default_generator_alone():
    before = torch.get_rng_state()
    epoch_order(100, 0, 1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_an_accelerator_waits_for_nothing(split):
    loader = batches(split, device="cuda")
    indices = torch.arange(16, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        inputs, labels = loader.gather(indices)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, _ = batches(split).gather(indices.cpu())
    assert torch.allclose(inputs.cpu(), expected, rtol=0, atol=1e-6)
    assert torch.equal(labels.cpu(), split.targets[:16])


def test_memory_is_taken_for_the_examples_that_there_are(split):
    loader = batches(split, batch_size=2**63 - 1)
    assert loader.steps_per_epoch == 1
    assert len(loader.gather(torch.arange(53))[0]) == 53
