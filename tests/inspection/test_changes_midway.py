"""Loops in which something changes midway: what changed is named, and from which step on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli
from gradcli.data import load_dataset

BATCH, STEPS, CHANGE = 40, 200, 101


@pytest.fixture(scope="module")
def scaled():
    torch.set_num_threads(1)
    split = load_dataset("mnist5k").train
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(0))
    return (split.inputs[order].flatten(1).float() / 255 - 0.1307) / 0.3081, split.targets[order]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = (
            nn.Linear(784, 32),
            nn.Linear(32, 32),
            nn.Linear(32, 10),
        )

    def forward(self, inputs):
        return self.head(F.relu(self.second(F.relu(self.first(inputs)))))


@pytest.fixture
def train(tmp_path, inspect, scaled):
    """Return a function that trains, with a change before a step, and returns the findings."""

    def train_with(
        change,
        *,
        updates=lambda step: True,
        data=lambda step, x, y: (x, y),
        every_step=lambda step, model, optimizer: None,
        loss_of=lambda step, outputs, targets: F.cross_entropy(outputs, targets),
    ):
        torch.manual_seed(0)
        model = Net()
        optimizer = torch.optim.SGD(
            [{"params": part.parameters()} for part in model.children()], lr=0.05
        )
        inputs, labels = scaled
        with gradcli.GradientMonitor(model, optimizer, runs_dir=tmp_path, every=10) as monitor:
            for step in range(1, STEPS + 1):
                if step == CHANGE:
                    change(model, optimizer)
                at = slice((step - 1) * BATCH % 4000, (step - 1) * BATCH % 4000 + BATCH)
                batch, targets = data(step, inputs[at], labels[at])
                optimizer.zero_grad()
                loss = loss_of(step, model(batch), targets)
                loss.backward()
                monitor.step(loss)
                every_step(step, model, optimizer)
                if updates(step):
                    optimizer.step()
        return inspect(target=monitor.run).findings

    return train_with


def nothing(model, optimizer):
    pass


def set_rate(rate, *places):
    def change(model, optimizer):
        for place in places:
            optimizer.param_groups[place]["lr"] = rate

    return change


def test_without_a_change_the_training_is_healthy(train):
    assert [finding.code for finding in train(nothing)] == ["healthy"]


@pytest.mark.parametrize(("places", "layer"), [((1,), "second"), ((0, 1, 2), None)])
def test_a_rate_that_becomes_0_is_dated(train, places, layer):
    first = train(set_rate(0.0, *places))[0]
    assert (first.code, first.layer, first.evidence["since_step"]) == ("not-updated", layer, CHANGE)
    assert "learning rate is 0" in first.message
    assert "above 0" in first.mend


def test_a_small_rate_is_not_one_of_0(train):
    assert [finding.code for finding in train(set_rate(1e-4, 1))] == ["healthy"]


@pytest.mark.parametrize(("factor", "code"), [(0.8, "lr-too-low"), (0.99, "healthy")])
def test_a_schedule_that_ends_too_early_is_dated(train, factor, code):
    def lower(step, model, optimizer):
        for group in optimizer.param_groups:
            group["lr"] *= factor

    first = train(nothing, every_step=lower)[0]
    assert first.code == code
    if code == "lr-too-low":
        # 0.8 ** 31 is the first power of 0.8 below a thousandth, and update 1 has the largest rate.
        assert first.evidence["since_step"] == 1 + 31
        assert "schedule" in first.mend


def test_clipping_that_begins_midway_to_almost_nothing_is_found(train):
    def clip(step, model, optimizer):
        if step >= CHANGE - 50:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-5)

    first = train(nothing, every_step=clip)[0]
    assert first.code == "always-clipped"
    assert "in the second half" in first.message


def test_losses_without_updates_are_counted(train):
    first = train(nothing, updates=lambda step: step < CHANGE)[0]
    assert (first.code, first.severity) == ("not-updated", "warning")
    assert first.evidence == {"last_update": CHANGE - 1, "calls_since": STEPS - CHANGE + 1}


def test_a_loop_that_reports_each_part_of_an_accumulation_makes_its_updates(train):
    findings = train(nothing, updates=lambda step: step % 16 == 0)
    assert "not-updated" not in [finding.code for finding in findings]


def test_a_layer_that_is_frozen_midway_is_dated(train):
    findings = train(lambda model, _: model.second.requires_grad_(False))
    assert [finding.code for finding in findings] == ["frozen", "healthy"]
    assert findings[0].evidence["since_step"] == CHANGE
    assert findings[0].message.startswith(f"From step {CHANGE} on, second is frozen")


def test_a_frozen_matrix_is_named_although_its_bias_is_trained(train):
    findings = train(lambda model, _: model.second.weight.requires_grad_(False))
    assert [finding.code for finding in findings] == ["frozen", "healthy"]
    assert "second.weight is frozen" in findings[0].message


def test_a_layer_that_is_replaced_midway_is_named_and_dated(train):
    def replace(model, optimizer):
        model.second = nn.Linear(32, 32)

    first = train(replace)[0]
    assert (first.code, first.layer) == ("not-updated", "second")
    assert first.evidence["since_step"] == CHANGE
    assert "new parameters in second, which the optimizer does not hold" in first.message


def test_a_replaced_layer_that_the_optimizer_knows_is_not_a_fault(train):
    def replace(model, optimizer):
        model.second = nn.Linear(32, 32)
        optimizer.add_param_group({"params": model.second.parameters()})

    assert "not-updated" not in [finding.code for finding in train(replace)]


@pytest.mark.parametrize("by_hand", [True, False])
def test_units_that_the_loop_kills_are_told_from_those_that_updates_kill(train, by_hand):
    def kill(model, optimizer):
        if by_hand:
            model.second.bias.data -= 500
        else:
            optimizer.param_groups[1]["lr"] = 100.0

    (finding,) = [one for one in train(kill) if one.code == "dead-units"]
    assert ("other than optimizer.step()" in finding.mend) == by_hand
    assert ("the measured updates add up to" in finding.message) == by_hand


def test_a_weight_decay_that_is_set_midway_is_not_said_to_be_that_of_the_start(train):
    def decay(model, optimizer):
        for group in optimizer.param_groups:
            group["weight_decay"] = 3.0

    first = train(decay)[0]
    assert first.code == "weight-decay-too-strong"
    assert f"from step {CHANGE} on if not before" in first.message
    assert "as hard as the gradient did at the start" in first.message


def test_inputs_that_lose_their_scale_are_dated_and_no_batch_is_blamed(train):
    findings = train(
        set_rate(1e-5, 0, 1, 2), data=lambda step, x, y: (x * 80 if step >= CHANGE else x, y)
    )
    assert findings[0].code == "unscaled-inputs"
    assert findings[0].evidence["since_step"] == CHANGE
    assert "bad-batch" not in [finding.code for finding in findings]


def random_labels(share):
    """Let this share of each batch have labels at random from the change on."""

    def replace(step, inputs, labels):
        if step < CHANGE:
            return inputs, labels
        some, generator = int(share * BATCH), torch.Generator().manual_seed(step)
        return inputs, torch.cat([torch.randint(10, (some,), generator=generator), labels[some:]])

    return replace


def test_labels_that_become_random_are_dated(train):
    first = train(nothing, data=random_labels(1))[0]
    assert (first.code, first.evidence["from_step"]) == ("labels", CHANGE)
    assert first.message.startswith(f"From step {CHANGE} on")


def test_a_loss_that_rises_at_once_and_stays_up_is_not_healthy(train):
    """Half of the labels are random, or the data got harder on purpose: that is not known."""
    (finding,) = train(nothing, data=random_labels(0.5))
    assert (finding.code, finding.evidence["from_step"]) == ("undetermined", CHANGE)
    assert "compare batches" in finding.message


def test_another_term_in_the_loss_is_not_blamed_on_the_data(train):
    def two_terms(step, outputs, targets):
        loss = F.cross_entropy(outputs, targets)
        return loss + 0.5 * outputs.sigmoid().mean() + 0.5 if step >= CHANGE else loss

    assert [finding.code for finding in train(nothing, loss_of=two_terms)] == ["healthy"]


@pytest.mark.parametrize(("factor", "size"), [(1e-6, "small"), (1e6, "large")])
def test_a_loss_that_is_multiplied_midway_is_dated(train, factor, size):
    def scaled_loss(step, outputs, targets):
        return F.cross_entropy(outputs, targets) * (factor if step >= CHANGE else 1)

    def unscale(step, model, optimizer):
        """Make the same updates as without the factor, if it is too large for the rate."""
        for parameter in model.parameters():
            parameter.grad /= factor if step >= CHANGE and factor > 1 else 1

    first = train(nothing, loss_of=scaled_loss, every_step=unscale)[0]
    assert (first.code, first.evidence["from_step"]) == ("loss-scale", CHANGE)
    assert f"too {size}" in first.message


def outlier(size):
    """Let one example of the batch of the change be noise of this size."""

    def put_in(step, inputs, labels):
        if step != CHANGE:
            return inputs, labels
        noise = size * torch.randn(784, generator=torch.Generator().manual_seed(2))
        return torch.cat([noise[None], inputs[1:]]), labels

    return put_in


def test_an_outlier_that_costs_much_is_a_warning(train):
    first = train(nothing, data=outlier(1000))[0]
    assert (first.code, first.severity) == ("bad-batch", "warning")
    assert first.evidence["step"] == CHANGE
    assert first.evidence["factor"] > 50
    assert STEPS / 20 < first.evidence["steps_to_recover"] < STEPS


def test_one_that_training_has_made_up_for_is_a_remark(train):
    findings = train(nothing, data=outlier(300))
    assert (findings[0].code, findings[0].severity) == ("bad-batch", "info")
    assert findings[-1].code == "healthy"


def test_one_that_does_no_harm_is_not_mentioned(train):
    assert [one.code for one in train(nothing, data=outlier(100))] == ["healthy"]


def first_another_loss(step, outputs, targets):
    """Until the change, a tenth of the squared errors; from then on, cross-entropy."""
    if step < CHANGE:
        return 0.1 * F.mse_loss(outputs, F.one_hot(targets, 10).float())
    return F.cross_entropy(outputs, targets)


def test_the_jump_to_another_loss_is_no_spike(train):
    codes = [finding.code for finding in train(nothing, loss_of=first_another_loss)]
    assert not {"spike", "bad-batch"} & set(codes)
