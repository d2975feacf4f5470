"""What a config may name: classes of the allowed packages, and nothing else that could run."""

import json
import os

import pytest

from gradcli.data import V2Transforms
from gradcli.errors import UserError

SMALL = ("data=mnist5k", "max_steps=2", "model.hidden=[8]", "--no-live", "-q")
#: Never a class of the right kind, in an allowed package or not.
TARGETS = (
    *("os.system", "subprocess.Popen", "builtins.eval", "builtins.exec", "posix.system"),
    *("torch.hub.load", "torch.load", "torch.utils.cpp_extension.load", "torch.os.system"),
    *("torch.nn.modules.module.torch.os.system", "torch.optim.optimizer.functools.partial"),
    *("torch.nn.init.warnings.sys.exit", "gradcli.runs.files.os.system", "gradcli.api.train"),
    *("gradcli.engines.worker.main", "gradcli.cli.app.main", "gradcli.__main__.main"),
    *("torch.nn.modules.batchnorm.Any", "torch.nn.Module.apply", "torch.optim.Optimizer.step"),
    *("gradcli.", "torch.nn.", "torch.nn..ReLU", ".os.system", "torch.optim", "torchvision.os"),
    *("hydra._internal.instantiate._instantiate2.instantiate", "gradcli.system.processes.os._exit"),
    *("torch.nn.ReLU\n", "torch.nn.ReLU;os.system", "__main__.x", "gradcli.models.mlp.nn.Module"),
)
SECTIONS = ("optimizer", "activation", "model", "init", "schedule", "clip", "augment", "data")


@pytest.fixture
def no_effects(monkeypatch):
    """What the targets could start, and nothing of ours does, fails the test."""

    def never(*arguments, **keywords):
        raise AssertionError("it ran")

    for name in ("system", "_exit", "popen"):
        monkeypatch.setattr(os, name, never)


def own_option(folder, group, target, more=""):
    """Write an option of the user's own that names `target`."""
    (folder / group).mkdir(parents=True, exist_ok=True)
    (folder / group / "mine.yaml").write_text(f"_target_: {json.dumps(target)}\n{more}")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("group", ["optimizer", "activation"])
def test_an_option_of_one_s_own_names_only_classes(
    group, target, gradcli, runs_dir, tmp_path, no_effects
):
    own_option(tmp_path / "own", group, target)
    answer = gradcli("train", *SMALL, f"{group}=mine", "--config-dir", str(tmp_path / "own"))
    assert answer.code == 2, answer.err
    assert answer.message.startswith("error: ")
    assert not runs_dir.exists()


@pytest.mark.parametrize("target", TARGETS)
def test_an_augmentation_lists_only_transforms_of_torchvision(target, no_effects):
    with pytest.raises(UserError):
        V2Transforms([{"_target_": target, "transforms": [{"_target_": target}]}])


@pytest.mark.parametrize("target", TARGETS)
def test_an_override_names_no_class(target, gradcli, runs_dir, no_effects):
    answer = gradcli("train", *SMALL, f"optimizer._target_={json.dumps(target)}")
    assert answer.code == 2
    assert not runs_dir.exists()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("target", TARGETS[:12])
def test_a_stored_run_names_only_classes(section, target, gradcli, stored, no_effects):
    run = next(stored.glob("*-interrupted-*"))
    config = json_config(run)
    config[section] = {"_target_": target, "name": "x"}
    (run / "config.yaml").write_text(json.dumps(config))
    for words in (("train", "--resume"), ("inspect-gradients", "--probe", "noise")):
        assert gradcli(*words, str(run)).code == 2


def json_config(run):
    """A stored config as plain data."""
    from gradcli.config.loading import stored_values

    return stored_values((run / "config.yaml").read_text(), where="")


NESTED = {
    "a mapping": {"_target_": "os.system", "_args_": ["true"]},
    "a list of them": [{"_target_": "os.system"}, {"_target_": "torch.nn.ReLU"}],
    "a class by its name": "os.system",
    "two deep": {"inner": {"_target_": "builtins.eval", "_args_": ["1"]}},
}


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("key", ["model.hidden", "optimizer.lr", "activation.inplace"])
def test_a_class_inside_an_argument_is_a_value_of_the_wrong_type(
    name, key, gradcli, stored, no_effects
):
    """Arguments are plain values: `_target_` means something only at the top of a section."""
    run = next(stored.glob("*-interrupted-*"))
    config = json_config(run)
    section, argument = key.split(".")
    config[section][argument] = NESTED[name]
    (run / "config.yaml").write_text(json.dumps(config))
    assert gradcli("train", "--resume", str(run)).code == 2


def test_a_recorder_of_a_stored_run_names_only_allowed_classes(gradcli, stored, no_effects):
    run = next(stored.glob("*-interrupted-*"))
    config = {**json_config(run), "recorders": {"spy": {"_target_": "os.system"}}}
    (run / "config.yaml").write_text(json.dumps(config))
    answer = gradcli("train", "--resume", str(run))
    assert answer.code == 2
    assert "is not in a package that configs may use" in answer.message


def test_what_a_run_says_was_allowed_is_not_allowed_again(gradcli, stored, no_effects):
    run = next(stored.glob("*-interrupted-*"))
    config = json_config(run)
    config["optimizer"] = {"_target_": "os.system"}
    (run / "config.yaml").write_text(json.dumps(config))
    state = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**state, "allow_import": ["os"]}))
    answer = gradcli("train", "--resume", str(run))
    assert answer.code == 2
    assert "--allow-import os" in answer.message


# YAML ---------------------------------------------------------------------------------------

TAGS = {
    "apply": "!!python/object/apply:os.system ['true']",
    "new": "!!python/object/new:os.system ['true']",
    "name": "!!python/name:os.system",
    "module": "!!python/module:os",
    "object": "!!python/object:subprocess.Popen {args: ['true']}",
    "own": "!evil {a: 1}",
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("place", ["stored", "own option", "recorder"])
def test_a_tag_makes_no_object(tag, place, gradcli, stored, tmp_path, no_effects):
    own, run = tmp_path / "own", next(stored.glob("*-interrupted-*"))
    if place == "stored":
        path = run / "config.yaml"
        path.write_text(f"{path.read_text()}extra: {TAGS[tag]}\n")
        words = ("train", "--resume", str(run))
    elif place == "own option":
        own_option(own, "optimizer", "torch.optim.SGD", f"lr: {TAGS[tag]}\n")
        words = ("train", *SMALL, "optimizer=mine", "--config-dir", str(own))
    else:
        own_option(own, "recorder", "gradcli.records.Recorder", f"file: {TAGS[tag]}\n")
        words = ("train", *SMALL, "recorders=[mine]", "--config-dir", str(own))
    answer = gradcli(*words)
    assert answer.code == 2, answer.err
    assert "not valid YAML" in answer.message


# Interpolations -----------------------------------------------------------------------------

RESOLVERS = {
    "environment": "${oc.env:GRADCLI_TEST_SECRET}",
    "with a default": "${oc.env:NOTHING,${oc.env:GRADCLI_TEST_SECRET}}",
    "inside a text": "a-${oc.env:GRADCLI_TEST_SECRET}-b",
    "decoded": "${oc.decode:${oc.env:GRADCLI_TEST_SECRET}}",
    "another key": "${seed}",
    "escaped": r"\${oc.env:GRADCLI_TEST_SECRET}",
    "hydra's": "${hydra:runtime.cwd}",
}
SECRET = "swordfish"


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("GRADCLI_TEST_SECRET", SECRET)


def holds_secret(folder):
    return [path for path in folder.rglob("*") if path.is_file() and SECRET in read(path)]


def read(path):
    return path.read_bytes().decode("utf-8", "replace")


@pytest.mark.parametrize("name", RESOLVERS)
def test_an_interpolation_in_a_stored_config_is_refused(name, gradcli, stored, secret):
    run = next(stored.glob("*-interrupted-*"))
    config = {**json_config(run), "name": RESOLVERS[name]}
    (run / "config.yaml").write_text(json.dumps(config))
    commands = [
        ("train", "--resume", str(run)),
        ("inspect-gradients", str(run), "--probe", "noise"),
        ("runs", "diff", str(run), "finished"),
    ]
    for words in commands:
        answer = gradcli(*words)
        assert answer.code == 2
        assert "name is '" in answer.message and "an interpolation" in answer.message
        assert SECRET not in answer.out + answer.err
    for words in (("runs", "list"), ("runs", "show", str(run)), ("runs", "export", str(run))):
        assert SECRET not in gradcli(*words).out
    assert holds_secret(stored) == []


def test_it_is_refused_at_any_depth_and_in_a_trial(gradcli, stored, secret, trials_in_this_process):
    comparison = next(stored.glob("*-comparison-*"))
    state = json.loads((comparison / "comparison.json").read_text())
    for arm in state["arms"]:
        arm["config"]["monitor"]["probes"] = [RESOLVERS["environment"]]
    state["status"] = "interrupted"
    (comparison / "comparison.json").write_text(json.dumps(state))
    answer = gradcli("compare-optimizers", "--resume", str(comparison))
    assert answer.code != 0
    assert holds_secret(stored) == []


def test_one_s_own_interpolations_work_as_in_hydra(gradcli, runs_dir, tmp_path, secret):
    own = tmp_path / "own"
    own_option(own, "optimizer", "torch.optim.SGD", "lr: 0.25\nmomentum: ${optimizer.lr}\n")
    words = ("optimizer=mine", "name=${oc.env:GRADCLI_TEST_SECRET}", "seed=${epochs}")
    answer = gradcli("train", *SMALL, *words, "--config-dir", str(own))
    assert answer.code == 0, answer.err
    (run,) = runs_dir.iterdir()
    stored = json_config(run)
    assert (stored["name"], stored["seed"]) == (SECRET, stored["epochs"])
    assert stored["optimizer"]["momentum"] == 0.25


def test_a_text_that_would_be_taken_for_one_is_refused_before_it_is_stored(gradcli, runs_dir):
    answer = gradcli("train", *SMALL, r"name='\${oc.env:HOME}'")
    assert answer.code == 2
    assert "cannot store such a text" in answer.message
    assert not runs_dir.exists()


# The log of the steps -----------------------------------------------------------------------


@pytest.mark.parametrize("type_", ["|O", "O", "<M8[s]", "<U999999", "|V8", "<f8"])
def test_rows_of_another_type_are_not_read(type_, gradcli, finished):
    """Bytes read as NumPy's objects are taken for addresses: the process would follow them."""
    path = finished / "steps.json"
    described = json.loads(path.read_text())
    for column in described["columns"]:
        column["type"] = type_
    path.write_text(json.dumps(described))
    for words in (("runs", "export"), ("inspect-gradients",)):
        answer = gradcli(*words, str(finished))
        assert answer.code == 2
        assert "steps.json" in answer.message
