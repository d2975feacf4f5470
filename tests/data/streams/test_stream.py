"""Streams: which batches they give, what they know of themselves, and what they refuse."""

import multiprocessing
import random
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler

from gradcli.data.problem import Problem
from gradcli.data.streams.own_random_state import OwnRandomState
from gradcli.data.streams.stream import Stream
from gradcli.data.streams.streamed_batches import StreamedBatches
from gradcli.errors import UserError

# A machine of one core, and a suite that is run in threads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

COUNT = 23


class Noisy(Dataset):
    """Examples that are drawn anew, by torch, NumPy and `random`, at each reading."""

    def __init__(self, count=COUNT):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        drawn = [float(torch.rand(())), float(np.random.rand()), random.random()]
        return torch.tensor([index, *drawn]), torch.tensor([float(index)])


def loader(batch_size, **settings):
    return DataLoader(Noisy(), **{"batch_size": batch_size, "shuffle": True} | settings)


def with_generator(batch_size):
    return loader(batch_size, generator=torch.Generator().manual_seed(1))


def of_two_workers(batch_size):
    return loader(batch_size, num_workers=2)


def with_batch_sampler(batch_size):
    sampler = RandomSampler(range(COUNT), generator=torch.Generator())
    return DataLoader(Noisy(), batch_sampler=BatchSampler(sampler, batch_size, drop_last=False))


class Drawn:
    """Not a loader of torch's: batches drawn one after the other."""

    def __init__(self, batch_size):
        self.size = batch_size

    def __len__(self):
        return 4

    def __iter__(self):
        for number in range(4):
            inputs = torch.rand(self.size, 4) + random.random() + np.random.rand()
            yield inputs, torch.full((self.size, 1), float(number))


FACTORIES = [loader, with_generator, of_two_workers, with_batch_sampler, Drawn]


def streamed(make, batch_size=5, split="train", batches=None):
    return StreamedBatches(Stream(make, split, batches), batch_size, device="cpu")


def by_hand(make, seed, epoch, batch_size=5):
    """The batches of a plain loop over the loader, in a program that is seeded for it."""
    word = int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0])
    made = make(batch_size=batch_size)
    samplers = [getattr(made, name, None) for name in ("sampler", "batch_sampler")]
    for owner in (made, *samplers, getattr(samplers[1], "sampler", None)):
        if getattr(owner, "generator", None) is not None:
            owner.generator.manual_seed(word)
    kept = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.manual_seed(word)
    random.seed(word % 2**32)
    np.random.seed(word % 2**32)
    try:
        return [(inputs.clone(), targets.clone()) for inputs, targets in made]
    finally:
        torch.set_rng_state(kept[0])
        random.setstate(kept[1])
        np.random.set_state(kept[2])


def same(ones, others):
    pairs = list(zip(ones, others, strict=True))
    return all(
        torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) for one, other in pairs
    )


@pytest.mark.parametrize("make", FACTORIES)
def test_an_epoch_is_that_of_a_plain_loop_under_its_seed(make):
    source = streamed(make)
    for seed, epoch in ((3, 1), (3, 2), (4, 1)):
        found = [batch[1:] for batch in source.epoch(seed, epoch)]
        assert same(found, by_hand(make, seed, epoch))
    assert not same(by_hand(make, 3, 1), by_hand(make, 3, 2))


@pytest.mark.parametrize("make", FACTORIES)
def test_an_epoch_continues_at_any_batch_to_the_bit(make):
    source = streamed(make)
    whole = [batch[1:] for batch in source.epoch(0, 1)]
    for start in (1, len(whole) - 1):
        torch.rand(start)  # the state of the program does not matter
        assert same([batch[1:] for batch in source.epoch(0, 1, start)], whole[start:])
    assert same([source.again(0, 1, 2)[1:]], whole[2:3])


@pytest.mark.parametrize("make", FACTORIES)
def test_an_evaluation_sees_the_same_batches_every_time(make):
    source = streamed(make, split="test")
    assert same(source.in_order(), list(source.in_order()))


@pytest.mark.parametrize("make", FACTORIES)
def test_the_program_keeps_its_random_states(make):
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.rand(3).tolist()

    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    expected = states()
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)
    batches = streamed(make).epoch(0, 1)
    next(batches)
    next(batches)
    assert states() == expected
    batches.close()


def test_a_state_goes_on_where_it_was_left():
    def draw():
        return torch.rand(()).item(), random.random(), np.random.rand()

    own, other = OwnRandomState(0, 1), OwnRandomState(0, 1)
    with own.entered():
        whole = [draw() for _ in range(4)]
    halves = []
    for _ in range(2):
        with other.entered():
            halves += [draw(), draw()]
        draw()
    assert halves == whole


class Failing(Noisy):
    def __getitem__(self, index):
        if index == 13:
            raise ValueError("a torn file")
        return super().__getitem__(index)


@pytest.mark.parametrize("end", ["closed", "finished", "failed"])
def test_workers_end_with_the_epoch(end):
    data = Failing() if end == "failed" else Noisy()
    source = streamed(lambda batch_size: DataLoader(data, batch_size, num_workers=2))
    assert multiprocessing.active_children() == []
    batches = source.epoch(0, 1)
    next(batches)
    assert len(multiprocessing.active_children()) == 2
    if end == "closed":
        batches.close()
    elif end == "finished":
        assert len(list(batches)) == 4
    else:
        with pytest.raises(UserError) as caught:
            list(batches)
        told = "Batch 2 of the training stream cannot be read: ValueError: a torn file"
        assert caught.value.problem == told
        lines = Path(__file__).read_text(encoding="utf-8").splitlines()
        line = 1 + lines.index('            raise ValueError("a torn file")')
        assert caught.value.where == f"{__file__}:{line}"
    assert multiprocessing.active_children() == []


class Numbers(IterableDataset):
    """Has no length."""

    def __iter__(self):
        return ((torch.full((2,), float(one)), one) for one in range(10))


def endless():
    while True:
        yield torch.rand(3, 2), torch.rand(3, 1)


@pytest.mark.parametrize(
    ("make", "batches", "expected"),
    [
        (loader, None, (5, 5, 23)),
        (loader, 2, (2, 5, 10)),
        (partial(loader, drop_last=True), None, (4, 5, 20)),
        (partial(loader, batch_size=4), None, (6, 4, 23)),
        (lambda: loader(7), None, (4, 7, 23)),
        (Drawn, None, (4, 5, 20)),
        (lambda: DataLoader(Numbers(), 4), 2, (2, 4, 8)),
        (endless, 6, (6, 3, 18)),
        (partial(loader, sampler=range(6), shuffle=False), None, (2, 5, 6)),
    ],
)
def test_a_stream_knows_its_length(make, batches, expected):
    source = streamed(make, batches=batches)
    assert (source.steps_per_epoch, source.batch_size, source.size) == expected
    sizes = [len(batch.targets) for batch in source.epoch(0, 1)]
    assert (len(sizes), sizes[0], sum(sizes)) == expected


def test_the_sampler_is_told_the_epoch():
    class Sampler:
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __iter__(self):
            return iter([self.epoch] * 4)

        def __len__(self):
            return 4

    source = streamed(lambda: DataLoader(Noisy(), 2, sampler=Sampler()))
    assert [batch.targets[0].item() for batch in source.epoch(0, 3)] == [3, 3]


def test_the_first_examples_are_those_of_the_first_epoch():
    inputs, targets = streamed(loader).first(2, 12)
    expected = by_hand(loader, 2, 1)
    assert torch.equal(inputs, torch.cat([one[0] for one in expected])[:12])
    assert torch.equal(targets, torch.cat([one[1] for one in expected])[:12])


def listed(*batches):
    class Listed(list):
        pass

    return lambda: Listed(batches)


ONE = (torch.zeros(2, 3), torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (listed(), "The training stream is empty"),
        (listed(torch.zeros(2)), "Batch 0 of the training stream is a Tensor, not a pair"),
        (listed((*ONE, 1)), "is a tuple of 3, not a pair"),
        (listed((ONE[0], [0, 1])), "is a pair with a list, not of two tensors"),
        (listed((torch.tensor(1.0), ONE[1])), "is a single example, not a batch"),
        (listed((ONE[0], ONE[1][:1])), "is 2 inputs and 1 targets"),
        (listed((ONE[0][:0], ONE[1][:0])), "is an empty pair"),
        (listed(ONE, ONE, 3), "Batch 2 of the training stream is a int"),
        (
            listed(ONE, (torch.zeros(2, 4), ONE[1])),
            "The inputs of batch 1 of the training stream are float32 of shape (4,) per example; "
            "those of its first one were float32 of shape (3,)",
        ),
        (listed(ONE, (ONE[0], ONE[1].long())), "The targets of batch 1 of the training stream"),
        (lambda: 1 / 0, "The training stream cannot be made: ZeroDivisionError"),
        (lambda: 3, "made a int, which yields no batches"),
        (lambda: Noisy(), "made a Noisy, which yields no batches"),
        (lambda: DataLoader(Failing(), 5), "Batch 2 of the training stream cannot be read: Val"),
        (endless, "The training stream does not say how many batches it has"),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_with_its_split_and_batch(make, said):
    with pytest.raises(UserError) as caught:
        list(streamed(make).epoch(0, 1))
    assert said in caught.value.problem


def test_a_stream_that_ends_early_is_refused():
    source = streamed(lambda: islice(endless(), 3), batches=5)
    batches = source.epoch(0, 1)
    assert len(list(islice(batches, 3))) == 3
    with pytest.raises(UserError, match="The training stream ended after 3 of 5 batches"):
        next(batches)


def problem(**changes):
    pair = torch.zeros(6, 4), torch.zeros(6, 1)
    given = {"model": lambda: nn.Linear(4, 1), "train": loader, "val": pair, "test": pair}
    return Problem(**given | {"loss": "mse"} | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"val": None}, "of which no sixth can be held out"),
        ({"test": None}, "of which no sixth can be held out"),
        ({"train": loader(4)}, "The training examples are a DataLoader"),
        ({"train": endless, "steps_per_epoch": 0}, "steps_per_epoch is 0 for train"),
        ({"steps_per_epoch": {"val": 3}}, "steps_per_epoch is 3 for val"),
        ({"val": endless}, "The validation stream does not say how many batches"),
        ({"test": Drawn, "val": lambda: loader(3, batch_size=2)}, "cannot be made: TypeError"),
    ],
)
def test_a_problem_refuses_what_cannot_be_streamed(changes, said):
    with pytest.raises(UserError) as caught:
        problem(**changes).dataset("mine")
    assert said in caught.value.problem


@pytest.mark.parametrize("streams", [("train",), ("val",), ("test",), ("train", "val", "test")])
def test_each_split_may_be_a_stream(streams):
    examples = torch.zeros(24, 4), torch.zeros(24, 1)
    splits = {name: loader if name in streams else examples for name in ("train", "val", "test")}
    info = problem(**splits).dataset("mine").info
    sizes = [COUNT if name in streams else 24 for name in ("train", "val", "test")]
    assert [info.train, info.val, info.test] == sizes
    assert (info.shape, info.classes) == ((4,), 0)


def test_a_val_and_a_test_stream_may_be_cut_short():
    numbers = {"train": 2, "val": 3, "test": 4}
    info = problem(train=endless, val=endless, test=endless, steps_per_epoch=numbers)
    info = info.dataset("mine").info
    assert [info.train, info.val, info.test] == [6, 9, 12]


def test_the_fingerprint_tells_streams_apart_by_their_first_batch_and_their_length():
    def sha256(**changes):
        return problem(**changes).dataset("mine").info.sha256

    assert sha256() == sha256()
    others = {"with_generator": {"train": Drawn}, "shorter": {"steps_per_epoch": 1}}
    others["another order"] = {"train": partial(loader, shuffle=False)}
    found = {sha256(**changes) for changes in others.values()}
    assert len(found | {sha256()}) == 4
