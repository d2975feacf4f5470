"""The comparison of two checkouts finds what differs, and only that; nothing is trained here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.config.targets import SHIPPED_CLASSES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        import compare_checkouts

        yield compare_checkouts
    for name in ("compare_checkouts", "checkout_cases", "tree_differences"):
        del sys.modules[name]


@pytest.fixture
def differences(tool):
    """The differences of two documents of one name, as printed; `allowed` as for `--allow`."""

    def find(old, new, *allowed, document="1/stdout"):
        found = tool.all_differences({document: old}, {document: new})
        return [str(one) for one in found if not tool.is_allowed(one, allowed)]

    return find


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ({"a": {"b": [1, 2, {"c": 3}]}}, {"a": {"b": [1, 2, {"c": 4}]}}, "a.b[2].c: 3 -> 4"),
        ({"a": 1}, {"a": 1, "b": None}, "b: absent -> None"),
        ({"a": 1, "b": None}, {"a": 1}, "b: None -> absent"),
        ([1], [1, 2], "[1]: absent -> 2"),
        ({"a": 1}, {"a": 1.0}, "a: 1 -> 1.0"),
        ({"a": 1}, {"a": True}, "a: 1 -> True"),
        ({"a": 0.0}, {"a": -0.0}, "a: 0.0 -> -0.0"),
        ({"a": [1]}, {"a": {"0": 1}}, "a: [1] -> {'0': 1}"),
    ],
)
def test_a_difference_is_printed_as_a_path(differences, old, new, says):
    assert differences(old, new) == [f"1/stdout: {says}"]
    assert differences(old, old) == []


def test_arrays_are_compared_to_the_bit(differences):
    old = np.array([[1.0, np.nan], [0.0, 4.0]], dtype="<f4")
    assert differences({"w": old}, {"w": old.copy()}) == []
    new = old.copy()
    new[1] = [-0.0, np.nextafter(np.float32(4), np.float32(5))]
    (said,) = differences({"w": old}, {"w": new})
    assert said == "1/stdout: w: 2 of 4 elements differ, first [1, 0]: 0.0 -> -0.0"
    assert differences({"w": old}, {"w": old.astype("<f8")}) == [
        "1/stdout: w: array of float32 (2, 2) -> array of float64 (2, 2)"
    ]
    assert differences({"w": np.array(1.0)}, {"w": np.array(2.0)}) == [
        "1/stdout: w: 1 of 1 elements differ, first []: 1.0 -> 2.0"
    ]


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ((), 3),
        (("layers",), 1),
        (("layers[].norm",), 2),
        (("layers[].norm.max", "try"), 1),
        (("layers[0]", "layers[].nor", "tr"), 3),
        (("stdout:try", "run.json:layers"), 2),
    ],
)
def test_what_is_allowed_is_a_path_and_everything_below_it(differences, allowed, left):
    old = {"layers": [{"name": "a", "norm": {"max": 1}}], "try": None}
    new = {"layers": [{"name": "b", "norm": {"max": 2}}], "try": "clip=none"}
    assert len(differences(old, new, *allowed)) == left


def test_a_file_of_allowed_keys_may_hold_comments(tool, tmp_path):
    (tmp_path / "keys.txt").write_text("# why\nlayers[].norm\n\n  stdout:try  \n")
    assert tool.read_allowed(tmp_path / "keys.txt") == ["layers[].norm", "stdout:try"]


def test_an_array_may_be_allowed_to_appear_but_not_to_change_or_vanish(differences):
    one, other = {"w": np.zeros(2)}, {"w": np.ones(2)}
    assert len(differences(one, other, "w")) == 1
    assert len(differences(one, {}, "w")) == 1
    assert len(differences({"state": {"0": one}}, {"state": {}}, "state")) == 1
    assert differences({}, one, "w") == []


def test_of_volatile_values_only_the_kind_counts(tool, differences):
    def run(seconds, loss, keep=30.0):
        return tool.masked(
            {"seconds": seconds, "loss": loss, "checkpoint": {"seconds": keep}, "pid": 7}
        )

    assert differences(run({"total": 1.5}, 2), run({"total": 7}, 2)) == []
    assert len(differences(run({"total": 1.5}, 2), run({}, 2))) == 1
    assert len(differences(run(1.5, 2), run("inf", 2))) == 1
    assert len(differences(run(1.5, 2), run(None, 2))) == 1
    assert differences(run(1.5, 2), run(1.5, 3)) == ["1/stdout: loss: 2 -> 3"]
    assert len(differences(run(1.5, 2), run(1.5, 2, keep=60.0))) == 1


def test_a_run_directory_is_read_without_names_and_places(tool, tmp_path):
    def side(stamp, extra=b""):
        folder = tmp_path / stamp
        run = folder / "runs" / f"20260101T0000{stamp}Z-mlp-adam-{stamp}ab"
        run.mkdir(parents=True)
        columns = [
            {"name": "step", "type": "<i8", "shape": []},
            {"name": "norms", "type": "<f4", "shape": [2]},
        ]
        (run / "steps.json").write_text(json.dumps({"schema": 1, "columns": columns}))
        (run / "steps.bin").write_bytes(
            np.array([(1, (2, 3))], dtype="<i8,(2,)<f4").tobytes() + extra
        )
        (run / "run.json").write_text(json.dumps({"run": run.name, "path": str(run)}))
        (run / "config.yaml").write_text("seed: 0\n")
        (run / "evals.jsonl").write_text('{"step": 1, "seconds": 0.5}\n')
        torch.save({"model": {"w": torch.ones(2)}, "step": 1}, run / "last.pt")
        return tool.read_documents(folder, ROOT, [json.dumps({"run": str(run)}), "a,b\n1,2\n"])

    # A torn last row is not a step.
    old, new = side("11"), side("22", extra=b"torn")
    assert tool.all_differences(old, new) == []
    assert old["1/stdout"] == {"run": "FOLDER/runs/TIME-mlp-adam-ID"}
    assert old["2/stdout"] == ["a,b", "1,2"]
    assert old["runs[0]/steps.bin"]["norms"].tolist() == [[2.0, 3.0]]
    assert old["runs[0]/evals.jsonl"] == [{"step": 1, "seconds": "<number>"}]
    assert old["runs[0]/last.pt"]["model"]["w"].tolist() == [1.0, 1.0]
    del new["files"]["runs[0]/config.yaml"], new["runs[0]/config.yaml"]
    assert [str(one) for one in tool.all_differences(old, new)] == [
        "files: runs[0]/config.yaml: 'a file' -> absent"
    ]


def test_trials_are_named_by_their_position(tool):
    printed = [json.dumps({"trials": [{"id": "76ad0f9d759a"}, {"id": "3a528fc12629"}]}), "text"]
    aliases = tool.trial_aliases(printed)
    assert tool.replaced("runs/trials/3a528fc12629", aliases) == "runs/trials/TRIAL1"


def test_a_step_log_of_another_schema_is_refused(tool, tmp_path):
    (tmp_path / "steps.json").write_text('{"schema": 9}')
    with pytest.raises(ValueError, match="schema 9"):
        tool.read_columns(tmp_path / "steps.bin")


def test_a_folder_without_the_package_is_refused(tool, tmp_path):
    with pytest.raises(ValueError, match="is not a checkout"):
        tool.require_checkout(tmp_path, sys.executable)


@pytest.mark.parametrize(
    "group", ["augment", "model", "clip", "optimizer", "activation", "schedule", "init"]
)
def test_every_option_has_a_case(tool, group):
    words = {word for case in tool.CASES for command in case.commands for word in command}
    options = {
        f"{group}={path.stem}"
        for path in (ROOT / "configs" / group).glob("*.yaml")
        # What needs an extra could not be tried everywhere.
        if not any(f"_target_: {target}\n" in path.read_text() for target in SHIPPED_CLASSES)
    }
    assert options
    # A library's model is chosen with its name, and timm need not be installed.
    chosen = {word.partition(".")[0] if word.startswith("model=") else word for word in words}
    assert options - {"model=timm"} <= chosen


def test_cases_have_names_of_their_own(tool):
    names = [case.name for case in tool.CASES]
    assert len(names) == len(set(names)) >= 20
