"""What Tab proposes: words on the line in, proposals out."""

import json
import os
from dataclasses import asdict
from typing import get_args

import pytest
from typer.main import get_command

from gradcli.cli.app import app
from gradcli.cli.completing.key_words import settings_after, written
from gradcli.cli.completing.proposing import propose
from gradcli.cli.completing.run_words import MOST_RUNS
from gradcli.comparison.run_sets import BY
from gradcli.config import compose_train, flattened
from gradcli.config.index import key_index
from gradcli.records import DataInfo, Status
from gradcli.runs.export import FORMATS

COMMAND = get_command(app)


def answer(line):
    """Return what may stand at the end of a line; a word ends with a space."""
    *before, typed = line.split(" ")
    return propose(COMMAND, before, typed)


def words(line):
    return [one.word for one in answer(line).proposals]


def said(line):
    return {one.word: one.help for one in answer(line).proposals}


def test_commands():
    assert words("tra") == ["train"]
    assert {"train", "compare-optimizers", "runs", "completion"} <= set(words(""))
    assert said("")["find-lr"] == "Find a learning rate, with an interval, in seconds"
    assert {"list", "show", "compare"} <= set(words("runs "))
    assert words("nothing tra") == []


def test_options():
    assert words("compare-optimizers --opt") == ["--optimizers"]
    assert words("compare-optimizers --jo") == ["--jobs"]
    assert "--resume" in words("train -")
    assert words("runs list ")[0].startswith("--")
    assert "--install-completion" not in words("-")


def test_an_option_is_proposed_once_unless_it_can_be_repeated():
    assert words("train --seed 1 --see") == []
    assert words("train -s 1 --see") == []
    assert words("train --tag a --ta") == ["--tag"]
    assert words("train -- --se") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("runs export --format ", list(FORMATS)),
        ("runs export --what ", ["steps", "trials"]),
        ("runs compare --by ", list(BY)),
        ("inspect-gradients --fail-on ", ["warning", "error"]),
        ("train --device ", ["auto", "cpu", "cuda", "mps"]),
        ("compare-optimizers --engine ", ["local", "ray", "serial", "slurm"]),
        ("compare-optimizers --protocol ", ["quick", "standard", "thorough"]),
        ("train --device=c", ["--device=cpu", "--device=cuda"]),
        ("train -o rms", ["rmsprop"]),
        ("compare-optimizers -j ", ["null"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("train --note ", []),
    ],
)
def test_values_of_options(line, expected):
    assert words(line) == expected


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ("train --runs-dir ", "folders"),
        ("train --config-dir=m", "folders"),
        ("runs export -o ", "files"),
        ("train data=npz data.path=", "files"),
        ("train problem=", "files"),
        ("runs show runs/", "folders"),
        ("train optimizer=", "none"),
    ],
)
def test_what_the_shell_proposes_itself(line, paths):
    assert answer(line).paths == paths


def test_overrides_by_section():
    assert words("train opt") == ["optimizer=", "optimizer."]
    assert all(one.goes_on for one in answer("train opt").proposals)
    assert words("train monitor.pro") == ["monitor.probes=", "monitor.probes_at="]
    assert words("train mon")[0] == "monitor.every="  # the section's keys at once
    assert {"epochs=", "model=", "data.", "device="} <= set(words("train "))
    assert "optimizers=" not in words("train ") and "optimizers=" in words("compare-optimizers ")
    assert "protocol.seeds=" in words("compare-optimizers protocol.")
    assert words("train nothing") == []


def test_options_of_groups_say_what_they_are():
    found = said("train optimizer=ad")
    assert {"optimizer=adam", "optimizer=adamw"} <= set(found)
    assert found["optimizer=adamw"].startswith("Adam with decoupled weight decay")
    assert found["optimizer=adam"].startswith("chosen: ")
    assert said("train optimizer=sgd optimizer=s")["optimizer=sgd"].startswith("chosen: ")


def test_keys_follow_what_is_chosen_before():
    assert said("train optimizer.") == {
        "optimizer.amsgrad=": "false",
        "optimizer.betas=": "[0.9,0.999]",
        "optimizer.eps=": "1e-08",
        "optimizer.lr=": "0.002",
        "optimizer.weight_decay=": "0.0",
    }
    for chosen in ("optimizer=sgd", "-o sgd", "--optimizer sgd", "--optimizer=sgd", "-osgd"):
        assert said(f"train {chosen} optimizer.") == {
            "optimizer.lr=": "0.5",
            "optimizer.weight_decay=": "0.0",
        }
    assert said("train --lr 0.3 optimizer.l") == {"optimizer.lr=": "0.3"}
    assert said("train --lr 0.3 optimizer.lr=7 optimizer.l") == {"optimizer.lr=": "7"}
    assert words("train optimizer=muon optimizer.groups.rest.l") == ["optimizer.groups.rest.lr="]
    assert words("train optimizer=none_of_ours optimizer.") == []


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optimizer=sgd", "optimizer.lr=0.25"],
        ["model=cnn", "schedule=step", "clip=agc"],
        ["experiment=deepobs/mnist_mlp"],
        ["experiment=deepobs/mnist_mlp", "model=cnn", "epochs=2"],
        ["init=zeros", "experiment=deepobs/mnist_mlp"],
        ["optimizer=muon"],
    ],
    ids=" ".join,
)
def test_the_shown_values_are_those_that_train_would_take(overrides):
    shown = settings_after(overrides, key_index(), key_index().roots["train"])
    settings = flattened(compose_train(overrides).plain)
    taken = {key: one for key, one in settings.items() if not key.endswith("_target_")}
    left_out = {"augment", "recorders", "checkpoint.keep"}  # of a config as it is stored
    values = {**shown.values, **shown.chosen}
    for key, value in taken.items():
        assert values[key] == written(value), key
    more = {key for key in values if key not in taken and key != "experiment"}
    assert {key for key in more if key.partition(".")[0] not in left_out} <= left_out


def test_values_of_keys():
    assert words("train device=") == [f"device={one}" for one in ("auto", "cpu", "cuda", "mps")]
    assert words("train compile=") == ["compile=true", "compile=false"]
    assert words("train optimizer.lr=") == ["optimizer.lr=0.002"]
    assert words("train data.normalize=m") == ["data.normalize=mean_std"]
    assert words("train +optimizer.l") == ["+optimizer.lr="]
    assert words("train experiment=deepobs/mnist_m") == ["experiment=deepobs/mnist_mlp"]
    assert words("train nothing=") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("compare-optimizers --optimizers sgd,rm", ["sgd,rmsprop", "sgd,rmsprop,"]),
        (
            "compare-optimizers --optimizers=sgd,rm",
            ["--optimizers=sgd,rmsprop", "--optimizers=sgd,rmsprop,"],
        ),
        (
            "compare-optimizers optimizers=[sgd,rm",
            ["optimizers=[sgd,rmsprop]", "optimizers=[sgd,rmsprop,"],
        ),
        ("compare-optimizers optimizers=", ["optimizers=[sgd,adam,rmsprop]", "optimizers=["]),
        ("compare-optimizers --vary clip=none,no", ["clip=none,norm", "clip=none,norm,"]),
        ("compare-optimizers --vary activation", ["activation=", "activation_checkpointing="]),
        ("inspect-gradients --probe noise,sh", ["noise,sharpness", "noise,sharpness,"]),
        ("compare-optimizers --optimizers sgd,sg", []),
        (
            "compare-optimizers --optimizers sgd --search lr,weight",
            ["lr,weight_decay", "lr,weight_decay,"],
        ),
        ("runs list --where status=finished,lo", ["status=finished,lost", "status=finished,lost,"]),
    ],
)
def test_lists(line, expected):
    assert words(line) == expected


def test_an_item_typed_in_full_may_go_on():
    found = words("compare-optimizers --optimizers sgd,adam")
    assert {"sgd,adam", "sgd,adamw", "sgd,adam,"} <= set(found)
    assert (
        found[-1] == "sgd,adam,"
        and answer("compare-optimizers --optimizers sgd,adam").proposals[-1].goes_on
    )


@pytest.fixture
def own(tmp_path):
    for file in ("optimizer/sign.yaml", "data/my data.yaml", "recorder/ending.yaml"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("# Of my own.\n_target_: mine.Own\nrate: 0.5\n")
    return tmp_path


def test_a_folder_of_ones_own(own):
    line = f"train --config-dir {own} "
    assert said(f"{line}optimizer=si") == {"optimizer=sign": "Of my own."}
    assert words(f"train --config-dir={own} optimizer=si") == ["optimizer=sign"]
    assert said(f"{line}optimizer=sign optimizer.") == {"optimizer.rate=": "0.5"}
    assert words(f"{line}data=my") == ["data=my data"]
    assert words(f"{line}recorders=[en") == ["recorders=[ending]"]
    assert words("train optimizer=si") == []


@pytest.mark.parametrize("folder", ["missing", "optimizer/sign.yaml"])
def test_a_folder_that_cannot_be_used_adds_nothing(own, folder):
    assert words(f"train --config-dir {own / folder} optimizer=adamw") == ["optimizer=adamw"]


# Runs ----------------------------------------------------------------------------------------


def begin(folder, name, **state):
    (folder / name).mkdir(parents=True)
    content = {
        "status": "finished",
        "info": {"model": "mlp", "optimizer": "sgd", "data": {"name": "digits"}},
    }
    (folder / name / "run.json").write_text(json.dumps(content | state))


DATA = asdict(DataInfo("digits", 1000, 100, 100, "abc", (1, 8, 8), 10))


def compare(folder, name, *arms):
    (folder / name).mkdir(parents=True)
    info = {"arms": [{"name": arm} for arm in arms], "data": DATA, "model": "mlp", "epochs": 1}
    state = {"schema": 2, "status": "failed", "info": info}
    started = {"started": "2026-01-03T00:00:00+00:00"}
    (folder / name / "comparison.json").write_text(json.dumps(state | started))


OLD, NEW, ARMS = (
    "20260101T000000Z-one-aaaa",
    "20260102T000000Z-two-bbbb",
    "20260103T000000Z-compare-cccc",
)


@pytest.fixture
def home(runs_dir):
    begin(runs_dir, OLD, result={"test": 0.98765})
    begin(runs_dir, NEW, status="running")
    compare(runs_dir, ARMS, "sgd", "adam b")
    return runs_dir


def test_runs_with_their_status_the_newest_first(home):
    assert said("runs show ") == {
        "latest": f"{ARMS}, failed",
        ARMS: "failed, compares sgd, adam b on digits",
        NEW: "lost, mlp sgd on digits",
        OLD: "finished, test 0.9877, mlp sgd on digits",
    }
    assert words("runs show ")[:3] == ["latest", ARMS, NEW]
    assert words("inspect-gradients 2026010") == [ARMS, NEW, OLD]
    assert words(f"runs diff {OLD} ") == [NEW, OLD]  # `latest` is a comparison


def test_a_run_is_found_by_its_name(home):
    assert words("runs show tw") == ["two-bbbb"]
    assert words("runs show bbb") == [NEW]
    assert words("runs show 0") == []  # part of several names


def test_a_word_that_names_another_run_is_not_proposed(home):
    begin(home, "20260104T000000Z-two-bbbb-dddd")
    assert words("runs show tw") == ["two-bbbb-dddd"]


def test_what_resume_takes(home):
    assert words("train --resume ") == [NEW, OLD]
    assert words("compare-optimizers --resume ") == ["latest", ARMS]
    assert words("compare-optimizers --resume com") == ["compare-cccc"]


def test_arms_of_comparisons(home):
    assert words("runs compare com") == ["compare-cccc:"]
    assert answer("runs compare com").proposals[0].goes_on
    assert words(f"runs compare {ARMS}:") == [f"{ARMS}:sgd", f"{ARMS}:adam b"]
    assert words("runs compare latest:s") == ["latest:sgd"]
    assert words("runs compare none:") == []
    assert words("runs compare optimiz")[0] == "optimizer="
    assert words("runs compare optimizer=rms") == ["optimizer=rmsprop", "optimizer=rmsprop,"]


def test_a_target_and_overrides(home):
    found = words("inspect-gradients ")
    assert found[0] == "latest" and "activation=" in found
    assert ARMS not in words("inspect-gradients latest ")


def test_the_runs_dir_on_the_line(home, tmp_path):
    begin(tmp_path / "other", "20260105T000000Z-five-eeee")
    assert "20260105T000000Z-five-eeee" in words(f"runs show --runs-dir {tmp_path / 'other'} ")
    assert words(f"runs rm --runs-dir {tmp_path / 'missing'} 2") == []


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"status": 3}', b"\xff\xfe", b'{"info": {}}', b"null"]
)
def test_a_damaged_run_is_said_to_be(home, content):
    (home / NEW / "run.json").write_bytes(content)
    assert said(f"runs show {NEW[:12]}")[NEW] in ("damaged", "3")
    (home / ARMS / "comparison.json").write_bytes(content)
    assert said("runs show ")[ARMS] == "damaged"
    assert words(f"runs compare {ARMS}:") == []


def test_what_is_no_run_is_not_proposed(home):
    (home / "20260106T000000Z-plots-ffff").mkdir()
    (home / "20260107-notes.txt").touch()
    assert words("runs show 20260106") == words("runs show 20260107") == []


def test_a_name_that_a_terminal_would_obey_is_not_proposed(home):
    begin(home, "20260108T000000Z-\x1b]0;title\x07-aaaa")
    begin(home, "20260109T000000Z-a b;'c'-aaaa")
    assert words("runs show 20260108") == []
    assert words("runs show 20260109") == ["20260109T000000Z-a b;'c'-aaaa"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="nothing is unreadable here")
def test_an_unreadable_folder_is_silent(home):
    home.chmod(0)
    try:
        assert words("runs show 2") == []
    finally:
        home.chmod(0o700)


def test_of_many_runs_a_few_are_read(home, monkeypatch):
    for number in range(200):
        begin(home, f"20270101T{number:06}Z-many-{number:04x}")
    found = words("runs show ")
    assert len(found) == 1 + MOST_RUNS
    assert found[1] == "20270101T000199Z-many-00c7"
    assert words("runs show 20270101T000000") == ["20270101T000000Z-many-0000"]


def test_conditions():
    assert words("runs list --where stat") == ["status="]
    assert set(words("runs list --where status=")) == {f"status={one}" for one in get_args(Status)}
    assert words("runs list --sort test") == ["test"]
    assert words("runs list --show lr,see") == ["lr,seed", "lr,seed,"]
    assert (
        propose(COMMAND, ["runs", "list", "--where"], "tag=a model=cn").proposals[0].word
        == "tag=a model=cnn"
    )
