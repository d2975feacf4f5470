"""Augmented batches against the same transforms applied by hand, image by image."""

import numpy as np
import pytest
import torch

from gradcli.data import Augmentation, AugmentedBatches, Batches, CropFlip, V2Transforms
from gradcli.data.augment.augmented_batches import image_seeds, refuse_no_images
from gradcli.data.batches import epoch_order
from gradcli.data.dataset import Split
from gradcli.errors import UserError
from gradcli.extras.torchvision_import import import_torchvision

V2 = "torchvision.transforms.v2"
SHIFT = [{"_target_": f"{V2}.RandomAffine", "degrees": 0, "translate": [0.3, 0.3]}]
SCALED = {"normalize": "mean_std", "mean": 0.4, "std": 0.2}


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (43, 3, 8, 10), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(43))


def made(split, augmentation=None, batch_size=10, **changes):
    augmentation = V2Transforms(SHIFT) if augmentation is None else augmentation
    return AugmentedBatches(split, augmentation, batch_size=batch_size, **(SCALED | changes))


def copied(batches):
    return [tuple(one.clone() for one in batch) for batch in batches]


class Mirror(Augmentation):
    """Mirrors an image or not, as a coin falls."""

    def __call__(self, image):
        return image.flip(-1) if torch.rand(()) < 0.5 else image


def test_each_image_is_what_the_transform_makes_of_it_under_its_own_seed(split):
    transform = import_torchvision("transforms.v2").RandomAffine(0, translate=(0.3, 0.3))
    order = epoch_order(43, 7, 2)
    for number, (examples, inputs, targets) in enumerate(copied(made(split).epoch(7, 2))):
        assert torch.equal(examples, order[10 * number : 10 * number + 10])
        assert torch.equal(targets, examples)
        for image, example in zip(inputs, examples.tolist(), strict=True):
            state = np.random.SeedSequence((7, 2, 1)).generate_state(43, np.uint64)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(state[example]))
                by_hand = transform(split.inputs[example])
            expected = (by_hand.double() / 255 - 0.4) / 0.2
            assert torch.allclose(image.double(), expected, atol=1e-5)


def test_images_of_one_batch_are_changed_differently():
    """A transform of the batch would draw once for all."""
    image = torch.arange(400, dtype=torch.uint8).view(1, 20, 20)
    same = Split(image.expand(16, -1, -1, -1).clone(), torch.arange(16))
    (batch,) = made(same, batch_size=16, normalize="none").epoch(0, 1)
    assert len(batch.inputs.unique(dim=0)) > 8


def test_an_epoch_depends_on_seed_and_epoch_alone(split):
    once, again = (copied(made(split).epoch(3, 2)) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert all(map(torch.equal, one, other))
    images = made(split).images
    numbers = torch.arange(10)
    for seed, epoch in ((4, 2), (3, 1)):
        assert not torch.equal(images(numbers, 3, 2), images(numbers, seed, epoch))


@pytest.mark.parametrize("batch_size", [1, 7, 43])
def test_an_image_does_not_depend_on_its_batch(split, batch_size):
    whole = made(split, batch_size=43).images(torch.arange(43), 3, 2)
    batches = made(split, batch_size=batch_size, normalize="none")
    for examples, inputs, _ in copied(batches.epoch(3, 2)):
        for example, image in zip(examples.tolist(), inputs, strict=True):
            assert torch.equal(image, whole[example].float())


def test_an_epoch_goes_on_from_any_batch_and_a_batch_can_be_made_again(split):
    batches = made(split)
    whole = copied(batches.epoch(1, 4))
    for start in range(5):
        rest = copied(batches.epoch(1, 4, start))
        assert len(rest) == 5 - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert all(map(torch.equal, one, other))
        assert all(map(torch.equal, batches.again(1, 4, start), whole[start]))


def test_the_random_state_of_the_caller_is_left_alone(split):
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    batches = made(split).epoch(0, 1)
    drawn = []
    for _ in range(4):
        next(batches)
        drawn.append(torch.rand(()))
    assert torch.equal(torch.stack(drawn), expected)


def test_examples_in_order_and_the_data_set_itself_stay_as_they_are(split):
    kept = split.inputs.clone()
    erasing = V2Transforms([{"_target_": f"{V2}.RandomErasing", "p": 1.0, "inplace": True}])
    batches = made(split, erasing)
    list(batches.epoch(0, 1))
    assert torch.equal(split.inputs, kept)
    plain = Batches(split, 10, **SCALED)
    for one, other in zip(copied(batches.in_order()), copied(plain.in_order()), strict=True):
        assert all(map(torch.equal, one, other))


def test_a_small_last_batch_can_be_left_out(split):
    assert [len(one[0]) for one in copied(made(split).epoch(0, 1))] == [10, 10, 10, 10, 3]
    assert len(copied(made(split, drop_last=True).epoch(0, 1))) == 4


def test_about_half_of_the_images_are_mirrored():
    count = 2000
    image = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4)
    same = Split(image.expand(count, -1, -1, -1).clone(), torch.arange(count))
    found = made(same, CropFlip(padding=0), batch_size=count).images(torch.arange(count), 0, 1)
    mirrored = (found == image.flip(-1)).flatten(1).all(1)
    assert ((found == image).flatten(1).all(1) | mirrored).all()
    assert abs(int(mirrored.sum()) - count / 2) < 5 * (count / 4) ** 0.5


def test_crops_are_all_places_of_the_padded_image():
    image = torch.ones(1, 1, 3, 3, dtype=torch.uint8)
    same = Split(image.expand(500, -1, -1, -1).clone(), torch.arange(500))
    crops = made(same, CropFlip(padding=1, flip=0), batch_size=500).images(torch.arange(500), 0, 1)
    rows, columns = crops[:, 0].sum(2).count_nonzero(1), crops[:, 0].sum(1).count_nonzero(1)
    found = {
        (int(row), int(column)): int(((rows == row) & (columns == column)).sum())
        for row in (2, 3)
        for column in (2, 3)
    }
    assert sum(found.values()) == 500
    expected = {(2, 2): 4 / 9, (2, 3): 2 / 9, (3, 2): 2 / 9, (3, 3): 1 / 9}
    for place, share in expected.items():
        assert abs(found[place] - 500 * share) < 5 * (500 * share * (1 - share)) ** 0.5


def test_seeds_are_a_stream_of_their_own():
    assert len(set(image_seeds(50_000, 0, 1))) == 50_000
    order_seed = int(np.random.SeedSequence((0, 1)).generate_state(1, np.uint64)[0])
    assert order_seed not in image_seeds(50_000, 0, 1)


def test_images_of_floats_and_a_class_of_ones_own_will_do():
    images = torch.randn(12, 1, 4, 4)
    batches = made(Split(images, torch.arange(12)), Mirror(), normalize=None)
    for examples, inputs, _ in copied(batches.epoch(0, 1)):
        for example, image in zip(examples.tolist(), inputs, strict=True):
            whole = images[example]
            assert torch.equal(image, whole) or torch.equal(image, whole.flip(-1))


REFUSED = {
    "another shape": [{"_target_": f"{V2}.CenterCrop", "size": 4}],
    "another type": [{"_target_": f"{V2}.ConvertImageDtype"}],
}


@pytest.mark.parametrize("transforms", REFUSED.values(), ids=REFUSED)
def test_what_does_not_keep_an_image_is_refused_before_training(split, transforms):
    with pytest.raises(UserError, match="shape and type must stay"):
        made(split, V2Transforms(transforms))


def test_what_cannot_take_an_image_is_refused_before_training(split):
    with pytest.raises(UserError, match="cannot change an image of"):
        made(split, V2Transforms([{"_target_": f"{V2}.RandomCrop", "size": 100}]))


@pytest.mark.parametrize("shape", [(5,), (4, 4)])
def test_examples_that_are_no_images_are_refused(shape):
    with pytest.raises(UserError, match="these examples have the shape"):
        made(Split(torch.zeros(6, *shape), torch.arange(6)))


MISTAKES = {
    "no class": ([{"degrees": 3}], "a class with its arguments"),
    "no such transform": ([{"_target_": f"{V2}.RandomAfine"}], "is not a transform"),
    "code of another package": ([{"_target_": "os.system", "command": "id"}], "is not a transform"),
    "a function of torchvision": ([{"_target_": f"{V2}.query_size"}], "is not a transform"),
    "a wrong argument": ([{"_target_": f"{V2}.RandomAffine", "angle": 3}], "cannot be built"),
    "inside another": (
        [{"_target_": f"{V2}.RandomApply", "transforms": [{"_target_": "os.system"}]}],
        "is not a transform",
    ),
    "none": ([], "changes nothing"),
}


@pytest.mark.parametrize(("transforms", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_transform_that_is_none_is_refused(transforms, said):
    with pytest.raises(UserError, match=said) as refused:
        V2Transforms(transforms)
    assert refused.value.hint


def test_transforms_may_stand_in_transforms(split):
    nested = [
        {"_target_": f"{V2}.RandomApply", "p": 1.0, "transforms": SHIFT},
    ]
    assert not torch.equal(
        made(split, V2Transforms(nested)).images(torch.arange(10), 0, 1), split.inputs[:10]
    )


def test_targets_of_the_form_of_the_images_are_refused():
    masks = torch.zeros(12, 8, 8, dtype=torch.int64)
    with pytest.raises(UserError, match="would leave the targets"):
        refuse_no_images(Split(torch.zeros(12, 3, 8, 8), masks))
    refuse_no_images(Split(torch.zeros(12, 3, 8, 8), torch.zeros(12, 8)))
