"""What is read of a run directory, in whatever state its process left it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.errors import DamagedFileError, DamagedFileWarning, UserError
from gradcli.records import (
    EvalRecord,
    FaultRecord,
    LayerRecord,
    ParameterGroup,
    SetupRecord,
    packed_scores,
)
from gradcli.runs import RunWriter, list_runs, load_run

PROBE = LayerRecord(1, (1.0, 2.0), (0.1, 0.2), (0.5, 0.25))
SETUP = SetupRecord(
    step=0,
    groups=(ParameterGroup((0, 1, 2), 0.1),),
    requires_grad=(True, True, True),
    call_order=(0, 1),
    calls=(1, 1),
)
RIGHT = np.array([True, False, True, True])


def evaluation(step, split="val", **more):
    return EvalRecord(step, 1, split, 0.1, 0.5, 0.2, 1.0, 1.0, **more)


@pytest.fixture
def write(tmp_path, run_info):
    """Return a function that writes a run with these records."""

    def make(*records, status="finished", **facts):
        writer = RunWriter(tmp_path, "seed: 0\n", {})
        writer.begin(run_info, {})
        for record in records:
            writer.write(record)
        writer.set_status(status, **facts)
        writer.close()
        return load_run(tmp_path)

    return make


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_overrides_are_those_that_began_the_run_if_recorded(make_run):
    recorded = load_run(make_run("one", overrides=["epochs=2"]))
    assert (recorded.has_overrides, recorded.overrides) == (True, ["epochs=2"])
    state = json.loads((recorded.path / "run.json").read_text())
    del state["overrides"]
    (recorded.path / "run.json").write_text(json.dumps(state))
    own = load_run(recorded.path)
    assert (own.has_overrides, own.overrides) == (False, [])


def test_a_run_that_ended_before_its_first_step_holds_no_training(make_run):
    run = load_run(make_run("one", "failed"))
    assert (run.layers, run.evals, run.setup, run.fault) == ((), (), None, None)
    assert len(run.steps) == 0
    assert run.damage == ()
    with pytest.raises(UserError, match="holds no training: the run ended before") as error:
        _ = run.info
    assert error.value.hint == f"gradcli train --resume {run.path}"
    row = run.row()
    assert (row.name, row.data, row.model, row.optimizer, row.epochs) == ("", "", "", "", 0)
    assert math.isnan(row.test_score)


def test_the_row_of_a_run_has_its_result_and_what_was_found_wrong(write):
    row = write(
        progress={"epochs": 3},
        result={"test_accuracy": 0.75, "findings": ["healthy", "spike", "plateau"]},
    ).row()
    assert (row.status, row.epochs, row.test_score) == ("finished", 3, 0.75)
    assert row.findings == ("spike", "plateau")
    assert (row.name, row.data, row.model, row.optimizer) == ("mine", "mnist5k", "mlp", "sgd")


def test_the_last_steps_are_read_alone(write, make_steps):
    run = write(make_steps(1, 10))
    assert run.last_steps(3).step.tolist() == [8, 9, 10]
    assert run.steps.step.tolist() == list(range(1, 11))


def test_columns_have_the_norms_of_layers_and_of_parameters(write, make_steps):
    run = write(make_steps(1, 4))
    columns = run.columns(slice(1, 3))
    assert columns["step"].tolist() == [2, 3]
    norms = {"hidden": 5.0, "hidden.weight": 3.0, "hidden.bias": 4.0, "output": 2.0,
             "output.weight": 2.0}  # fmt: skip
    for name, norm in norms.items():
        np.testing.assert_allclose(columns[f"grad_norm_before_clip/{name}"], [2 * norm, 3 * norm])
        np.testing.assert_allclose(columns[f"grad_norm_after_clip/{name}"], [norm, 1.5 * norm])
    total = math.sqrt(29)
    np.testing.assert_allclose(columns["grad_norm_before_clip"], [2 * total, 3 * total], rtol=1e-6)
    np.testing.assert_allclose(columns["grad_norm_after_clip"], [total, 1.5 * total], rtol=1e-6)
    assert len(columns) == 7 + 2 * (2 + 3)
    assert len(load_run(run.path).columns()["step"]) == 4


def test_a_run_without_layers_has_columns_without_norms_of_layers(make_run):
    assert list(load_run(make_run("one")).columns()) == [
        "step", "epoch", "loss", "learning_rate", "grad_norm_before_clip",
        "grad_norm_after_clip", "clip_coefficient",
    ]  # fmt: skip


def test_which_examples_were_right_comes_back_with_its_evaluation(write):
    run = write(
        evaluation(10),
        evaluation(10, "test", example_scores=packed_scores(RIGHT)),
        evaluation(20, "test", example_scores=packed_scores(~RIGHT)),
        evaluation(30, "test"),
    )
    val, ten, twenty, thirty = run.evals
    assert ten.scores_of_examples(4).tolist() == RIGHT.tolist()
    assert twenty.scores_of_examples(4).tolist() == (~RIGHT).tolist()
    assert (val.example_scores, thirty.example_scores) == ("", "")


def test_setups_come_back_in_their_order(write):
    run = write(*(replace(SETUP, step=step) for step in (0, 10, 20)))
    assert [one.step for one in run.setups] == [0, 10, 20]
    assert (run.first_setup.step, run.setup.step) == (0, 20)
    none = write()
    assert (none.setups, none.first_setup, none.setup) == ((), None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"call_order": (-1, 0, 1)},
        {"own_functions": (("Round", 1), ("Swish", -1))},
        {"kept_elsewhere": (1,), "replaced": (0,), "identical_units": (0, 1)},
        {"without_gradient": (0, 2)},
    ],
)
def test_a_setup_of_the_runs_layers_and_parameters_is_read(write, changes):
    run = write(replace(SETUP, **changes))
    assert repr(run.setup) == repr(replace(SETUP, **changes))  # NaN differs from itself
    assert run.damage == ()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"call_order": (0, 2)}, "layers"),
        ({"call_order": (-2,)}, "layers"),
        ({"identical_units": (2,)}, "layers"),
        ({"kept_elsewhere": (2,)}, "layers"),
        ({"replaced": (2,)}, "layers"),
        ({"own_functions": (("Round", 2),)}, "layers"),
        ({"without_gradient": (3,)}, "parameters"),
        ({"without_gradient": (-1,)}, "parameters"),
        ({"groups": (ParameterGroup((0, 3), 0.1),)}, "parameters"),
    ],
)
def test_a_setup_of_what_the_model_does_not_have_is_damage(write, changes, what):
    with pytest.warns(DamagedFileWarning, match=f"of {what} that the model does not have"):
        found = write(replace(SETUP, **changes), replace(SETUP, step=10)).setups
    assert [one.step for one in found] == [10]


def test_a_record_of_other_layers_is_damage(write):
    run = write(PROBE, LayerRecord(2, (1.0, 2.0), (0.1, 0.2), (0.5,)), replace(PROBE, step=3))
    with pytest.warns(DamagedFileWarning, match="layers that are not the 2 of the run"):
        assert [one.step for one in run.layer_records] == [1, 3]


def test_a_layer_without_parameters_is_damage(write):
    path = write().path
    layers = json.loads((path / "layers.json").read_text())
    layers[0]["parameters"] = []
    (path / "layers.json").write_text(json.dumps(layers))
    with pytest.raises(DamagedFileError, match="has a layer without parameters"):
        _ = load_run(path).layers


def test_a_line_that_is_no_json_is_damage_and_hides_no_other(write):
    path = write(evaluation(10), evaluation(20), evaluation(30)).path
    (path / "checksums.bin").unlink()  # as of an earlier release
    lines = (path / "evals.jsonl").read_bytes().split(b"\n")
    (path / "evals.jsonl").write_bytes(b"\n".join([lines[0], b"{torn", *lines[2:]]))
    run = load_run(path)
    with pytest.warns(DamagedFileWarning, match="is not valid JSON"):
        assert [one.step for one in run.evals] == [10, 30]
    assert len(run.damage) == 1


def test_the_same_damage_is_named_once(write, make_steps):
    path = write(evaluation(10), make_steps(1, 2)).path
    data = bytearray((path / "evals.jsonl").read_bytes())
    data[-2] ^= 1
    (path / "evals.jsonl").write_bytes(data)
    run = load_run(path)
    with pytest.warns(DamagedFileWarning) as said:
        assert (run.evals, len(run.damage), len(run.damage)) == ((), 1, 1)
    assert len(said) == 1
    assert len(run.steps) == 2


def test_checksums_that_are_none_leave_the_logs_as_they_are(write):
    path = write(evaluation(10)).path
    (path / "checksums.bin").write_bytes(b"\xff" * 24)
    run = load_run(path)
    with pytest.warns(DamagedFileWarning, match="holds no checksums"):
        assert [one.step for one in run.evals] == [10]


def test_what_was_appended_without_a_checksum_does_not_count(write, make_steps):
    path = write(evaluation(10), make_steps(1, 2)).path
    for name in ("evals.jsonl", "steps.bin"):
        whole = (path / name).read_bytes()
        (path / name).write_bytes(whole + whole)
    run = load_run(path)
    assert ([one.step for one in run.evals], len(run.steps), run.damage) == ([10], 2, ())


def test_a_log_that_is_a_folder_is_damage(write):
    path = write(evaluation(10)).path
    (path / "evals.jsonl").unlink()
    (path / "evals.jsonl").mkdir()
    run = load_run(path)
    with pytest.warns(DamagedFileWarning, match="cannot be read"):
        assert run.evals == ()


def test_logs_that_are_missing_hold_nothing(write):
    path = write().path
    for name in ("evals.jsonl", "probes.jsonl", "steps.bin"):
        (path / name).unlink()
    run = load_run(path)
    assert (run.evals, run.layer_records, len(run.steps), run.damage) == ((), (), 0, ())


def test_a_damaged_header_and_a_damaged_fault_are_named(write):
    run = write(FaultRecord(3, 1, "forward", "hidden", math.inf, (1,)))
    assert run.fault.layer == "hidden"
    change(run.path / "run.json", fault={"step": 3})
    again = load_run(run.path)
    with pytest.warns(DamagedFileWarning, match=r"run\.json has no key"):
        assert len(again.damage) == 1
    state = json.loads((run.path / "run.json").read_text())
    del state["info"]["threads"]
    (run.path / "run.json").write_text(json.dumps(state))
    again = load_run(run.path)
    with pytest.warns(DamagedFileWarning, match="has no key 'threads'"):
        assert len(again.damage) == 1


def test_runs_are_listed_the_newest_first_without_what_is_none(make_run, make_comparison):
    names = ["20260101T000000Z-a-aaaa", "20260102T000000Z-b-bbbb"]
    for name in names:
        folder = make_run(name).parent
    make_comparison("20260103T000000Z-c-cccc")
    assert [run.name for run in list_runs(folder)] == names[::-1]
    with pytest.raises(UserError, match=r"is not a run directory: it has no run\.json"):
        load_run(folder / "20260103T000000Z-c-cccc")
