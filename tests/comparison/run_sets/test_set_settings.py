"""In which settings sets differ: what was chosen is named, and what was reached is no setting."""

import torch

import gradcli as package


def settings_of(compared, name):
    return next(one.settings for one in compared.sets if one.name == name)


def test_what_was_set_within_an_option_is_named_beside_it(train, compare):
    train("mine", "optimizer=adam", "seed=1")
    train("hot", "optimizer=sgd", "optimizer.lr=1e30", "optimizer.momentum=0.5", "seed=1")
    compared = compare("mine", "hot", by="seconds_train")
    assert compared.differing == ("optimizer", "optimizer.lr", "optimizer.momentum")
    assert settings_of(compared, "hot")["optimizer.lr"] == 1e30
    assert settings_of(compared, "hot")["optimizer.momentum"] == 0.5
    assert settings_of(compared, "mine")["optimizer.momentum"] is None  # adam has none


def test_what_an_option_implies_is_not_named_apart_from_the_learning_rate(train, compare):
    train("mine", "optimizer=adam", "schedule=cosine")
    train("other", "optimizer=sgd", "schedule=constant")
    assert set(compare("mine", "other").differing) == {"optimizer", "optimizer.lr", "schedule"}


def test_any_group_names_what_was_set_within_it(train, compare):
    train("mine", "clip=norm", "clip.max_norm=0.125")
    train("other", "clip=none")
    compared = compare("mine", "other")
    assert compared.differing == ("clip", "clip.max_norm")
    assert settings_of(compared, "mine")["clip.max_norm"] == 0.125


def test_what_was_set_in_one_run_of_a_set_alone_is_mixed(train, compare):
    train("mine-1", "clip=none", "seed=1")
    train("mine-2", "clip=norm", "clip.max_norm=0.125", "seed=2")
    train("other", "clip=none")
    compared = compare("mine-*", "other")
    assert next(one.mixed for one in compared.sets if one.name == "mine-*") == (
        "clip",
        "clip.max_norm",
    )


def test_the_steps_that_a_diverged_run_reached_are_no_setting(train, compare):
    train("hot-1", "optimizer=sgd", "optimizer.lr=1e30", "seed=1")
    train("hot-2", "optimizer=sgd", "optimizer.lr=1e12", "seed=2")
    train("mine", "optimizer=sgd")
    compared = compare("hot-*", "mine")
    named = {*compared.differing, *(key for one in compared.sets for key in one.mixed)}
    assert named == {"optimizer.lr"}


def test_the_length_of_ones_own_loop_is_named_because_nothing_else_says_it(tmp_path, compare):
    for name, steps in (("short", 3), ("long", 5)):
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with package.GradientMonitor(
            model, optimizer, name=name, runs_dir=tmp_path / "runs"
        ) as seen:
            for _ in range(steps):
                loss = model(torch.ones(1, 2)).sum()
                optimizer.zero_grad()
                loss.backward()
                seen.step(loss)
                optimizer.step()
    assert compare("short", "long").differing == ("steps",)


def test_what_an_override_added_to_one_set_alone_is_a_difference(train, compare):
    train("plain", "optimizer=sgd")
    train(
        "grouped", "optimizer=sgd", "+optimizer.groups={b:{where:{names:'*.bias'},lr:0.01},rest:{}}"
    )
    compared = compare("plain", "grouped")
    assert "optimizer.groups.b.lr" in compared.differing
    assert settings_of(compared, "grouped")["optimizer.groups.b.lr"] == 0.01
    assert not any("no recorded setting" in one for one in compared.cautions)
