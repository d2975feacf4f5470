"""A problem of the user's own as a data set: what it takes, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from gradcli.data.problem import Problem
from gradcli.errors import UserError
from gradcli.records import Metric

INPUTS = torch.arange(24.0).reshape(12, 2)
CLASSES = torch.arange(12) % 3


class Pairs(Dataset):
    """A map-style data set; `noise` changes an example at each reading."""

    def __init__(self, inputs, targets, noise=0.0):
        self.inputs, self.targets, self.noise = inputs, targets, noise

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        if index >= len(self.inputs):
            raise IndexError(index)
        extra = self.noise * torch.rand(())
        return self.inputs[index] + extra, self.targets[index]


def problem(train=(INPUTS, CLASSES), **changes):
    return Problem(**{"model": lambda: nn.Linear(2, 3), "train": train} | changes)


FORMS = {
    "tensors": (INPUTS, CLASSES),
    "a list": [INPUTS, CLASSES],
    "arrays": (INPUTS.numpy(), CLASSES.numpy().astype(np.int32)),
    "doubles": (INPUTS.double().numpy(), CLASSES.numpy()),
    "tensors of float64": (INPUTS.double(), CLASSES),
    "int8": (INPUTS, CLASSES.to(torch.int8)),
    "int16": (INPUTS, CLASSES.short()),
    "int32": (INPUTS, CLASSES.int()),
    "uint8": TensorDataset(INPUTS.double(), CLASSES.to(torch.uint8)),
    "map-style of NumPy's types": Pairs(INPUTS.double(), CLASSES.numpy().astype(np.int32)),
    "TensorDataset": TensorDataset(INPUTS, CLASSES),
    "map-style": Pairs(INPUTS, CLASSES.tolist()),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_examples_is_the_same_data(form):
    plain = problem().dataset("mine")
    found = problem(form).dataset("mine")
    assert found.info == plain.info
    assert found.train.inputs.dtype == torch.float32
    assert found.train.targets.dtype == torch.int64
    assert torch.equal(found.train.inputs, plain.train.inputs)


def test_numbers_as_targets_have_the_type_of_the_weights():
    values = INPUTS.double()
    plain = problem((values, values), loss="mse").dataset("mine")
    assert plain.train.inputs.dtype == plain.train.targets.dtype == torch.float32
    exact = problem((values, values), loss="mse", model=lambda: nn.Linear(2, 2).double())
    assert exact.dataset("mine").test.targets.dtype == torch.float64


def test_looking_at_the_weights_draws_no_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    problem((INPUTS.double(), CLASSES)).dataset("mine")
    assert torch.equal(torch.rand(2), expected)


def test_a_model_that_cannot_be_made_is_told_with_its_words():
    def broken():
        raise ValueError("no such size")

    with pytest.raises(UserError, match=r"The model cannot be built: .*no such size"):
        problem((INPUTS.double(), CLASSES), model=broken).dataset("mine")


def test_examples_are_split_once_and_for_all_without_loss():
    dataset = problem().dataset("mine")
    splits = (dataset.train, dataset.val, dataset.test)
    assert [len(split) for split in splits] == [9, 1, 2]
    rows = torch.cat([split.inputs for split in splits])
    assert sorted(rows[:, 0].tolist()) == INPUTS[:, 0].tolist()
    for split in splits:  # inputs and targets stay together
        assert torch.equal((split.inputs[:, 0] / 2).long() % 3, split.targets)


def test_splits_of_ones_own_are_used_as_they_are():
    given = problem(val=(INPUTS[:4], CLASSES[:4]), test=(INPUTS[4:6], CLASSES[4:6]))
    dataset = given.dataset("mine")
    assert torch.equal(dataset.train.inputs, INPUTS)
    assert torch.equal(dataset.val.inputs, INPUTS[:4])
    assert torch.equal(dataset.test.inputs, INPUTS[4:6])


def test_the_fingerprint_changes_with_every_value_and_type():
    changed = INPUTS.clone()
    changed[3, 1] += 1
    found = [
        problem(one).dataset("mine").info.sha256
        for one in ((INPUTS, CLASSES), (changed, CLASSES), (INPUTS.half(), CLASSES))
    ]
    assert len(set(found)) == 3


def test_classes_are_counted_where_targets_are_classes():
    assert problem().dataset("x").info.classes == 3
    numbers = problem((INPUTS, INPUTS[:, :1]), loss="mse").dataset("x")
    assert (numbers.info.classes, numbers.outputs) == (0, 1)
    assert numbers.objective.metric == Metric("mse", "minimize")


def test_a_function_is_a_loss_that_is_scored_by_itself():
    def huber(outputs, targets):
        return nn.functional.huber_loss(outputs, targets)

    objective = problem((INPUTS, INPUTS), loss=huber).objective
    assert (objective.name, objective.metric) == ("huber", Metric("loss", "minimize"))
    assert objective.loss is huber


def test_a_metric_of_ones_own_is_named_with_its_direction():
    def error(outputs, targets):
        return (outputs - targets).abs().amax(1)

    objective = problem((INPUTS, INPUTS), loss="mse", metric=("worst", error, "minimize")).objective
    assert objective.metric == Metric("worst", "minimize")
    assert objective.score is error


def test_a_target_is_timed_if_there_is_one():
    assert problem(target=0.8).dataset("x").target_score == 0.8
    assert math.isnan(problem().dataset("x").target_score)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": nn.Linear(2, 3)}, "takes what makes the model"),
        ({"loss": "cross_entropi"}, "no loss named"),
        ({"loss": 3}, "a name or a function, not a int"),
        ({"metric": "acuracy"}, "no metric named"),
        ({"metric": ("a", len, "max")}, "direction of a is 'max'"),
        ({"metric": ("a", 3, "maximize")}, "a name, a function"),
        ({"metric": "mae"}, "mae is of numbers, and the outputs under cross_entropy"),
        ({"loss": "mse", "metrics": ["accuracy"]}, "accuracy is of classes"),
        ({"loss": nn.MSELoss}, "MSELoss is a class"),
        ({"train": iter([]), "steps_per_epoch": 3}, "yields its batches once only"),
        ({"steps_per_epoch": {"trian": 3}}, "'trian', which is no split"),
    ],
)
def test_what_is_no_problem_is_refused_when_it_is_made(changes, said):
    with pytest.raises(UserError, match=said):
        problem(**changes)


class Broken(Pairs):
    def __getitem__(self, index):
        if index == 7:
            raise OSError("picture 7 is cut off")
        return super().__getitem__(index)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (None, "no training examples"),
        (5, "are a int"),
        ((INPUTS, CLASSES[:5]), "12 inputs and 5 targets"),
        ((np.array(["a", "b"]), CLASSES[:2]), "no numbers"),
        (Pairs(INPUTS[:0], []), "is empty"),
        (Pairs(INPUTS, CLASSES, noise=1.0), "another one at each reading"),
        (Broken(INPUTS, CLASSES), "Example 7 of the training data set.*picture 7 is cut off"),
        (Pairs([torch.zeros(2), torch.zeros(3)], [0, 1]), "do not make a batch"),
        (["ab", "cd", "ef"], "is a str, not a pair"),
        ((INPUTS[:3], CLASSES[:3]), "no sixth"),
    ],
)
def test_examples_that_cannot_be_used_are_told_in_words(train, said):
    with pytest.raises(UserError, match=said):
        problem(train).dataset("mine")


def test_splits_of_another_shape_are_refused():
    with pytest.raises(
        UserError, match=r"float32 of shape \(2,\) in the training.*\(3,\) in the test"
    ):
        problem(test=(torch.zeros(4, 3), CLASSES[:4])).dataset("mine")


def test_what_is_not_a_number_is_like_itself_at_each_reading():
    inputs = INPUTS.clone()
    inputs[0, 0] = math.nan
    assert problem(Pairs(inputs, CLASSES)).dataset("x").info.train == 9


def test_a_problem_in_a_function_has_no_place():
    assert problem().place is None


@pytest.mark.parametrize(
    ("targets", "loss", "said"),
    [
        ([0.0, math.nan, 1.0], "mse", "one of example 1 is nan, which is not finite"),
        ([0.0, 1.0, math.inf], "l1", "one of example 2 is inf, which is not finite"),
        ([0.0, -1.0, 1.0], "bce_with_logits", "one of example 1 is -1.*from 0 to 1"),
    ],
)
def test_targets_that_no_output_can_reach_are_named(targets, loss, said):
    column = torch.tensor(targets * 4)[:, None]
    with pytest.raises(UserError, match=said):
        problem((INPUTS, column), loss=loss).dataset("mine")


def test_truth_values_are_targets_of_a_binary_loss():
    dataset = problem((INPUTS, CLASSES > 0), loss="bce_with_logits").dataset("mine")
    assert dataset.train.targets.dtype == torch.bool
    assert dataset.info.classes == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "nll"])
def test_a_class_below_0_is_refused_and_one_that_does_not_count_is_not(loss):
    classes = CLASSES.clone()
    classes[3] = -100
    problem(train=(INPUTS, classes), loss=loss).dataset("x")
    classes[5] = -1
    with pytest.raises(UserError, match="one of example 5 is -1; classes count from 0"):
        problem(train=(INPUTS, classes), loss=loss).dataset("x")


def test_inputs_of_several_tensors_are_refused():
    for inputs in ({"a": INPUTS}, (INPUTS, INPUTS)):
        with pytest.raises(UserError, match="a tensor each; one of them is a"):
            problem(train=(inputs, CLASSES)).dataset("x")
