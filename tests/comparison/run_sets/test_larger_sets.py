"""What is proposed after a comparison of sets: it runs, and what it makes counts."""

import json
import shlex

import pytest
import torch

import gradcli as package

DIVERGES = ("optimizer=sgd", "optimizer.lr=1e30")


def trainings(compared):
    return [one for one in compared.next_commands if one[:2] == ("gradcli", "train")]


def wider(compared):
    return [one for one in compared.next_commands if one[:3] == ("gradcli", "runs", "compare")]


def counts(compared):
    return {one.name: len(one.members) for one in compared.sets}


def train_two(train, names="{}-{}", seeds=(1,), **labels):
    for optimizer in ("adam", "sgd"):
        for seed in seeds:
            own = {key: value.format(optimizer) for key, value in labels.items()}
            train(
                names.format(optimizer, seed), f"optimizer={optimizer}", f"seed={seed}",
                tags=[own["tag"]] if "tag" in own else [], note=own.get("note", ""),
            )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "names", "labels"),
    [
        (("adam-*", "sgd-*"), "{}-{}", {}),
        (("adam", "sgd"), "{}", {}),
        (("name=adam*", "name=sgd*"), "{}-{}", {}),
        (("optimizer=adam", "optimizer=sgd kind=run"), "x", {}),
        (("tag=of-adam", "tag=of-sgd status=finished"), "x", {"tag": "of-{}"}),
        (("note=my*adam", "note=my*sgd"), "x", {"note": "my {}"}),
        (("adam0.*", "sgd0.*"), "{}0.{}", {}),
    ],
)
def test_what_is_proposed_makes_both_sets_larger(train, compare, gradcli, words, names, labels):
    train_two(train, names, **labels)
    before = compare(*words)
    commands = trainings(before)
    assert len(commands) == 2
    assert not wider(before)
    for command in commands:
        assert command[-1] == "seed=2"
        assert gradcli(*command[1:], "-q").code == 0
    after = compare(*words)
    assert counts(after) == dict.fromkeys(words, 2)
    assert not any(one.mixed for one in after.sets)
    assert not {*trainings(after)} & {*commands}


def test_runs_that_no_seed_can_join_are_compared_with_those_of_their_names(train, compare, gradcli):
    train_two(train)
    before = compare("adam-1", "sgd-1", by="val")
    assert len(trainings(before)) == 2
    for command in before.next_commands:
        quiet = ["-q"] if command[1] == "train" else []
        assert gradcli(*command[1:], *quiet).code == 0, shlex.join(command)
    (command,) = wider(before)
    assert {*command[3:5]} == {"adam-*", "sgd-*"}
    assert command[5:] == ("--by", "val")
    assert set(counts(compare("adam-*", "sgd-*")).values()) == {2}
    (again,) = wider(compare("adam-1", "sgd-1", by="val"))  # they are there now
    assert not trainings(compare("adam-1", "sgd-1", by="val"))
    assert again == command


def test_conditions_on_the_seed_are_widened(train, compare, gradcli):
    train_two(train, "x")
    before = compare("optimizer=adam seed<2", "optimizer=sgd seed=1")
    assert {*wider(before)[0][3:5]} == {"optimizer=adam", "optimizer=sgd"}
    for command in trainings(before):
        assert gradcli(*command[1:], "-q").code == 0
    assert set(counts(compare("optimizer=adam", "optimizer=sgd")).values()) == {2}


def test_a_set_first_gets_the_seeds_that_the_other_one_has(train, compare):
    train_two(train)
    train("adam-5", "optimizer=adam", "seed=5")
    (command,) = trainings(compare("adam-*", "sgd-*", pairing="seed"))
    assert {"optimizer=sgd", "name=sgd-5", "seed=5"} <= {*command}


def test_seeds_that_are_there_already_are_not_trained_again(train, compare):
    train_two(train)
    train("elsewhere", "optimizer=adam", "seed=2")
    seeds = {command[-1] for command in trainings(compare("adam-*", "sgd-*"))}
    assert "seed=3" in seeds
    assert not any(
        {"optimizer=adam", "seed=2"} <= {*command}
        for command in trainings(compare("adam-*", "sgd-*"))
    )


def test_a_set_whose_runs_diverged_gets_no_further_seeds(train, compare):
    train("hot-1", *DIVERGES, "seed=1")
    hot = train("hot-2", *DIVERGES, "seed=2")
    train("mine-1", "seed=1")
    compared = compare("hot-*", "mine-*")
    assert not trainings(compared)
    shown = [one for one in compared.next_commands if one[2] == "show"]
    assert len(shown) == 1
    assert "hot" in shown[0][3]
    assert str(hot.path.parent) in shown[0][3]


def test_labels_of_one_run_are_not_given_to_the_next(train, compare):
    train("adam-1", "optimizer=adam", "seed=1", tags=["all", "best"], note="the first")
    train("adam-2", "optimizer=adam", "seed=2", tags=["all"], note="the second")
    train("sgd-1", "optimizer=sgd", "seed=1", tags=["kept"], note="alone")
    train("sgd-3", "optimizer=sgd", "seed=3", tags=["other"])
    commands = trainings(compare("adam-*", "sgd-*", pairing="none"))
    given = [word for command in commands for word in command if word in ("--tag", "--note")]
    assert given == ["--tag"]
    assert [command[3] for command in commands if "--tag" in command] == ["all"]


@pytest.mark.parametrize("words", [("adam-1", "adam-2"), ("seed=1", "seed=2")])
def test_sets_of_one_setting_are_not_given_the_same_run(train, compare, words):
    train("adam-1", "seed=1")
    train("adam-2", "seed=2")
    compared = compare(*words)
    assert not trainings(compared)
    assert not wider(compared)


@pytest.mark.parametrize(("names", "proposed"), [("x", 0), ("{}-{}", 2)])
def test_sets_chosen_by_their_scores_get_further_seeds_only_for_wider_sets(
    train, compare, names, proposed
):
    train_two(train, names)
    compared = compare("optimizer=adam test_acc>=0", "optimizer=sgd train_loss>0")
    assert len(trainings(compared)) == proposed
    assert [{*command[3:5]} for command in wider(compared)] == [{"adam-*", "sgd-*"}] * (
        proposed > 0
    )


def test_loops_of_ones_own_and_trials_get_no_command(tmp_path, train, compare):
    compared = package.compare(
        "data=mnist5k", "model.hidden=[4]", "max_steps=4", "protocol.tune=false",
        optimizers=["sgd", "adam"], seeds=2, jobs=1, engine=None, runs_dir=tmp_path / "runs",
    )  # fmt: skip
    name = compared.path.name
    assert not trainings(compare(f"{name}:sgd", f"{name}:adam"))
    for loop in ("one", "two"):
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with package.GradientMonitor(
            model, optimizer, name=loop, runs_dir=tmp_path / "runs"
        ) as seen:
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            seen.step(loss)
            optimizer.step()
    assert not trainings(compare("one", "two"))


def test_runs_that_were_picked_by_their_results_are_named(train, compare):
    train_two(train, seeds=(1, 2))
    train("adam-3", "optimizer=adam", "optimizer.lr=1e30", "seed=3")
    compared = compare("optimizer=adam status=finished", "optimizer=sgd")
    assert any(
        "'optimizer=adam status=finished' chooses runs" in one
        and "status=finished leaves out 1 run, 1 of them diverged" in one
        for one in compared.cautions
    )
    scores = sorted(member.score for one in compared.sets for member in one.members
                    if one.name == "optimizer=sgd")  # fmt: skip
    word = f"optimizer=sgd train_loss>0 test_acc>={scores[1]}"
    if scores[0] < scores[1]:
        (said,) = [one for one in compare(word, "adam-1").cautions if "chooses runs" in one]
        assert f"train_loss>0 test_acc>={scores[1]} leaves out 1 run." in said
    everything = compare("optimizer=adam steps>0", "optimizer=sgd test_acc>=0")
    assert not any("chooses runs" in one for one in everything.cautions)


def test_a_run_that_was_lost_is_no_seed_that_is_there(train, compare):
    train_two(train)
    lost = train("adam-2", "optimizer=adam", "seed=2")
    train("sgd-2", "optimizer=sgd", "seed=2")
    path = lost.path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "running"}))
    (command,) = trainings(compare("adam-*", "sgd-*", pairing="seed"))
    assert {"name=adam-2", "seed=2"} <= {*command}
