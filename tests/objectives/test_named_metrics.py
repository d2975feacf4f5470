"""Every metric that can be named, against sums written out in NumPy, and the refused names."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradcli.errors import UserError
from gradcli.objectives import NAMED_METRICS, chosen_objective
from gradcli.records import ACCURACY, Metric


def drawn(count=23, classes=9):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(0, classes, (count,), generator=generator)


def by_hand(name, outputs, targets):
    """The score of all examples, in NumPy and float64."""
    x, y = outputs.double().numpy(), targets.numpy()
    match name:
        case "accuracy":
            return (x.argmax(1) == y).mean()
        case "top5":
            return np.mean([label in np.argsort(-row)[:5] for row, label in zip(x, y, strict=True)])
        case "mae":
            return abs(x - y).mean()
        case "mse":
            return ((x - y) ** 2).mean()
        case "rmse":
            return math.sqrt(((x - y) ** 2).mean())
        case "r2":
            explained = 1 - ((y - x) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
            return explained.mean()


def scored(measure, outputs, targets):
    """The score of one batch with all examples."""
    parts = measure.of_batch(outputs, targets).double().mean(0)
    return float(parts if measure.of_mean is None else measure.of_mean(parts))


def any_loss(outputs, targets):
    """A loss of the user's own: it suits every metric."""
    return F.mse_loss(outputs, targets)


def named(name, loss=any_loss):
    return chosen_objective(loss, ("none", F.l1_loss, "minimize"), [name]).further[0]


@pytest.mark.parametrize("name", NAMED_METRICS)
def test_a_named_metric_is_what_its_name_says(name):
    outputs, targets = drawn()
    if name not in ("accuracy", "top5"):
        targets = outputs + 0.3 * drawn(23, 9)[0].flip(0) + 5
    found = named(name)
    assert found.metric == NAMED_METRICS[name].metric
    assert scored(found, outputs, targets) == pytest.approx(by_hand(name, outputs, targets))


def test_one_number_per_example_may_have_an_axis_of_its_own_or_not():
    outputs, targets = torch.tensor([1.0, 2.0, 4.0, 4.0]), torch.tensor([1.5, 2.5, 3.0, 5.0])
    expected = 1 - (0.25 + 0.25 + 1 + 1) / (2.25 + 0.25 + 0 + 4)
    for given in (outputs, outputs[:, None]):
        assert scored(named("r2"), given, targets) == pytest.approx(expected)


def test_r2_keeps_its_digits_far_from_zero():
    """In float32, the mean square less the squared mean would be nothing but rounding."""
    targets = torch.arange(100.0) + 30_000
    outputs = targets + 1
    expected = 1 - 100 / ((np.arange(100) - 49.5) ** 2).sum()
    assert scored(named("r2"), outputs, targets) == pytest.approx(expected, rel=1e-6)


def test_r2_of_targets_that_are_all_the_same_is_unknown():
    targets = torch.full((50,), 0.1)
    assert math.isnan(scored(named("r2"), targets + 1, targets))


def test_the_perfect_model_scores_the_best_there_is():
    numbers = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    scores = {name: scored(named(name), numbers, numbers) for name in ("r2", "rmse", "mae")}
    assert scores == {"r2": 1.0, "rmse": 0.0, "mae": 0.0}


@pytest.mark.parametrize("constant", [0.0, torch.nan])
def test_outputs_that_tell_no_class_from_another_do_not_score(constant):
    """Ties go to the first classes; NaN is no answer."""
    outputs, targets = torch.full((10, 10), constant), torch.arange(10)
    expected = 0.5 if constant == 0 else 0.0
    assert scored(named("top5"), outputs, targets) == expected


def test_among_many_targets_per_example_those_that_count_for_no_loss_are_left_out():
    outputs = torch.arange(8.0).view(1, 8, 1).expand(1, 8, 3)
    assert scored(named("top5"), outputs, torch.tensor([[7, 0, -100]])) == 0.5


def test_next_tokens_are_scored_by_the_same_names():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 7, generator=generator)
    tokens = torch.randint(0, 7, (5, 4), generator=generator)
    right = (logits.argmax(-1) == tokens).double().mean()
    assert scored(named("accuracy", "next_token"), logits, tokens) == pytest.approx(float(right))
    among = (logits.topk(5).indices == tokens[..., None]).any(-1).double().mean()
    assert scored(named("top5", "next_token"), logits, tokens) == pytest.approx(float(among))


def test_the_accuracy_of_a_loss_is_its_own():
    """One logit above 0 is a yes: no class has the largest output there."""
    found = named("accuracy", "bce_with_logits")
    outputs, targets = torch.tensor([-1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 0.0])
    assert scored(found, outputs, targets) == pytest.approx(2 / 3)


def test_a_name_may_decide_too():
    objective = chosen_objective("cross_entropy", "top5", ["accuracy"])
    assert objective.metric == Metric("top5", "maximize")
    assert [one.metric for one in objective.measures] == [objective.metric, ACCURACY]
    assert chosen_objective("mse", "rmse").of_mean is not None


OWN = ("own", F.l1_loss, "minimize")
REFUSED = {
    "an unknown name": ({"metrics": ["rsme"]}, "no metric named 'rsme'", ("rmse", "mse", "mae")),
    "the one that decides": ({"metrics": ["mse"]}, "Two metrics are named 'mse'", ()),
    "one twice": ({"metrics": [OWN, OWN]}, "Two metrics are named 'own'", ()),
    "no name": ({"metrics": [(" ", *OWN[1:])]}, "cannot be named ' '", ()),
    "a control character": ({"metric": ("a\x1b", *OWN[1:])}, r"cannot be named 'a\\x1b'", ()),
    "no direction": ({"metrics": [OWN[:2]]}, "a name, a function of", ()),
    "no list": ({"metrics": "mae"}, "come in a list", ()),
    "one without a list": ({"metrics": OWN}, "come in a list", ()),
}


@pytest.mark.parametrize(("given", "said", "choices"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_metric_is_refused(given, said, choices):
    with pytest.raises(UserError, match=said) as refused:
        chosen_objective("mse", given.get("metric"), given.get("metrics", ()))
    assert refused.value.choices == choices
    assert refused.value.hint


@pytest.mark.parametrize(("name", "classes"), [("top5", 5), ("accuracy", 1)])
def test_a_metric_that_would_say_nothing_is_refused(name, classes):
    with pytest.raises(UserError, match=r"\(3, "):
        named(name).of_batch(torch.zeros(3, classes), torch.zeros(3, dtype=torch.int64))
