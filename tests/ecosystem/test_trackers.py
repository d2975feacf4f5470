"""What each tracker keeps of a run, read back by its own reader and compared with the run."""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import gradcli as package
from gradcli.cli.app import app  # noqa: F401  (imported before the folder changes)
from gradcli.runs import find_any, load_run
from gradcli.runs.removal import remove

#: What the libraries use of each other's past is theirs to change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")
LIBRARIES = {"tensorboard": "tensorboardX", "mlflow": "sqlalchemy"}


@pytest.fixture(params=TRACKERS)
def tracker(request):
    """The name of a tracker whose library is installed."""
    pytest.importorskip(LIBRARIES.get(request.param, request.param), exc_type=ImportError)
    return request.param


def expected(run, *, layers=False):
    """What a tracker must hold of a run: the points of each curve, from the run's columns."""
    columns, curves = run.columns(), defaultdict(list)
    names = ["loss", "learning_rate", "grad_norm_before_clip", "grad_norm_after_clip"]
    if layers:
        names += [
            f"grad_norm_{side}_clip/{one.name}"
            for side in ("before", "after")
            for one in run.layers
        ]
    steps = columns["step"].tolist()
    for name in names:
        curves[name] = list(zip(steps, columns[name].astype(float).tolist(), strict=True))
    clipped = columns["grad_norm_after_clip"] < columns["grad_norm_before_clip"] * (1 - 1e-6)
    shares = [float(np.mean(clipped[: row + 1])) for row in range(len(steps))]
    curves["clipped_fraction"] = list(zip(steps, shares, strict=True))
    for one in run.layer_records:
        ratios = [ratio for ratio in one.update_ratio if ratio == ratio]
        curves["update_ratio_median"].append((one.step, float(np.median(ratios))))
        curves["update_ratio_smallest"].append((one.step, float(np.min(ratios))))
        curves["update_ratio_largest"].append((one.step, float(np.max(ratios))))
        for layer, norm, ratio in zip(run.layers, one.weight_norm, one.update_ratio, strict=True):
            if layers:
                curves[f"weight_norm/{layer.name}"].append((one.step, norm))
                curves[f"update_ratio/{layer.name}"].append((one.step, ratio))
    for one in run.evals:
        curves[f"{one.split}_loss"].append((one.step, one.loss))
        curves[f"{one.split}_accuracy"].append((one.step, one.score))
    return dict(curves)


# The readers --------------------------------------------------------------------------------


def read_tensorboard(folder, run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    inside = [folder / run.name, *folder.glob(f"*-{run.name[:6]}"), folder]
    found = EventAccumulator(
        str(next(path for path in inside if path.is_dir())),
        size_guidance={"scalars": 0, "images": 0},
    )
    found.Reload()
    curves = {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    (words,) = found.Tensors("findings/text_summary")
    pictures = found.Images("gradient_norms") if found.Tags()["images"] else []
    hparams = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    return curves, {
        "findings": words.tensor_proto.string_val[0].decode(),
        "picture": pictures[-1].encoded_image_string if pictures else None,
        "has_rate": b"optimizer.lr" in hparams,
    }


def wandb_messages(content):
    """The messages of a .wandb file, which is a log as LevelDB writes it.

    wandb has no reader in Python. A header of 7 bytes; blocks of 32 KiB; in them chunks, each with
    a checksum (4 bytes), a length (2) and a kind: whole, or the first, a middle or the last part.
    """
    assert content[:4] == b":W&B"
    at, parts = 7, []
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts.append(content[at + 7 : at + 7 + length])
        at += 7 + length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []


def read_wandb(folder, run):
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # as the end of the process does: wandb's own process writes all that it holds
    (file,) = folder.glob(f"wandb/offline-run-*-{identity(run)}/*.wandb")
    curves, config, summary = defaultdict(list), {}, {}
    for data in wandb_messages(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {
                one.key or "/".join(one.nested_key): json.loads(one.value_json)
                for one in record.history.item
            }
            for name, value in items.items():
                if isinstance(value, int | float) and not name.startswith(("_", "gradient_norms")):
                    curves[name].append((items["_step"], value))
        elif kind == "run":
            config |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        elif kind == "summary":
            summary |= {
                one.key or one.nested_key[0]: json.loads(one.value_json)
                for one in record.summary.update
            }
    pictures = list(file.parent.glob("files/media/images/gradient_norms_*.png"))
    return dict(curves), {
        "findings": summary["findings"],
        "picture": pictures[0].read_bytes() if pictures else None,
        "has_rate": config["optimizer.lr"] > 0,
    }


def read_trackio(folder, run):
    with sqlite3.connect(folder / "gradcli.db") as database:
        rows = database.execute(
            "SELECT m.step, m.metrics, m.run_name, c.config FROM metrics m "
            "JOIN configs c ON c.run_id = m.run_id ORDER BY m.id"
        ).fetchall()
    curves, extra = defaultdict(list), {"picture": None}
    for step, metrics, name, config in rows:
        config = json.loads(config)
        if config["run"] != full_name(run):
            continue
        extra["has_rate"] = config["optimizer.lr"] > 0
        for key, value in json.loads(metrics).items():
            if isinstance(value, dict):
                if value["_type"] == "trackio.markdown":
                    extra["findings"] = value["_value"]
                else:
                    extra["picture"] = (folder / "media" / value["file_path"]).read_bytes()
            else:
                curves[key].append((step, value))
        assert name
    return dict(curves), extra


def read_mlflow(folder, run):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiments = [one.experiment_id for one in client.search_experiments()]
    (found,) = client.search_runs(experiments, f"tags.`gradcli.run` = '{full_name(run)}'")
    place = Path(found.info.artifact_uri.removeprefix("file://"))
    picture = place / "gradient_norms.png"
    curves = {
        name: [(one.step, one.value) for one in client.get_metric_history(found.info.run_id, name)]
        for name in found.data.metrics
    }
    return {name: sorted(curve) for name, curve in curves.items()}, {
        "findings": (place / "findings.md").read_text(),
        "picture": picture.read_bytes() if picture.is_file() else None,
        "has_rate": float(found.data.params["optimizer.lr"]) > 0,
    }


READERS = {
    "tensorboard": read_tensorboard,
    "wandb": read_wandb,
    "trackio": read_trackio,
    "mlflow": read_mlflow,
}


def full_name(run):
    parent = run.path.resolve().parent
    return f"{parent.parent.name}/{run.name}" if parent.name == "trials" else run.name


def identity(run):
    return full_name(run).replace("/", "-")


def compare(tracker, folder, run, *, layers=False):
    """Compare what a tracker holds with the run, number by number; return its other contents."""
    curves, extra = READERS[tracker](folder, run)
    wanted = expected(run, layers=layers)
    assert set(curves) == set(wanted)
    for name, points in wanted.items():
        if tracker == "tensorboard":  # which keeps float32
            points = [(step, float(np.float32(value))) for step, value in points]
        assert [step for step, _ in curves[name]] == [step for step, _ in points], name
        values, numbers = [[value for _, value in curve] for curve in (curves[name], points)]
        if tracker == "wandb":  # which writes single digits of a float32 less
            assert values == pytest.approx(numbers, rel=1e-15), name
        else:
            assert values == numbers, name
    return extra


# Exports ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [False, True])
def test_an_exported_run_has_the_numbers_of_the_run(
    tracker, layers, runs_dir_with_runs, tmp_path, gradcli
):
    run = find_any("one", runs_dir_with_runs)
    words = ["--format", tracker, "-o", str(tmp_path), *(["--layers"] if layers else [])]
    for _ in range(2):  # the second one takes the place of the first
        answer = gradcli("runs", "export", str(run.path), *words)
        assert (answer.code, answer.out) == (0, ""), answer.err
    extra = compare(tracker, tmp_path, run, layers=layers)
    assert "healthy" in extra["findings"] or "**" in extra["findings"]
    assert extra["picture"].startswith(b"\x89PNG")
    assert extra["has_rate"]


def test_of_a_comparison_each_trial_is_a_run(tracker, runs_dir_with_runs, tmp_path, gradcli):
    comparison = find_any("arms", runs_dir_with_runs)
    words = ["--format", tracker, "-o", str(tmp_path)]
    answer = gradcli("runs", "export", str(comparison.path), *words)
    assert answer.code == 0, answer.err
    assert len(comparison.trials()) == 4
    for run in comparison.trials():
        compare(tracker, tmp_path, run)


def test_two_runs_share_a_folder(tracker, runs_dir_with_runs, tmp_path, gradcli):
    first = find_any("one", runs_dir_with_runs)
    second = find_any("arms", runs_dir_with_runs).trials()[0]
    for run in (first, second, first):
        words = ["--format", tracker, "-o", str(tmp_path)]
        assert gradcli("runs", "export", str(run.path), *words).code == 0
    compare(tracker, tmp_path, first)
    compare(tracker, tmp_path, second)


def test_parquet_has_the_columns_of_the_run_to_the_bit(runs_dir_with_runs, tmp_path, gradcli):
    polars = pytest.importorskip("polars")
    pandas = pytest.importorskip("pandas")
    run = find_any("one", runs_dir_with_runs)
    file = tmp_path / "steps.parquet"
    assert (
        gradcli("runs", "export", str(run.path), "--format", "parquet", "-o", str(file)).code == 0
    )
    read = {
        "pandas": dict(pandas.read_parquet(file).items()),
        "polars": {one.name: one for one in polars.read_parquet(file)},
    }
    for columns in read.values():
        assert list(columns) == list(run.columns())
        for name, column in run.columns().items():
            found = columns[name].to_numpy()
            assert found.dtype.kind == column.dtype.kind
            if column.dtype.kind == "f":
                assert found.dtype == column.dtype
            assert np.array_equal(found, column, equal_nan=column.dtype.kind == "f")


@pytest.mark.parametrize("what", ["steps", "trials"])
def test_parquet_of_a_comparison_is_one_long_table(what, runs_dir_with_runs, tmp_path, gradcli):
    pandas = pytest.importorskip("pandas")
    comparison = find_any("arms", runs_dir_with_runs)
    for kind in ("parquet", "jsonl"):
        file = tmp_path / f"table.{kind}"
        words = ["--what", what, "--format", kind, "-o", str(file)]
        assert gradcli("runs", "export", str(comparison.path), *words).code == 0
    table = pandas.read_parquet(tmp_path / "table.parquet")
    rows = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text().splitlines()]
    assert (
        len(table)
        == len(rows)
        == (4 if what == "trials" else sum(len(one.steps) for one in comparison.trials()))
    )
    for name in table.columns:
        for found, row in zip(table[name], rows, strict=True):
            wanted = row.get(name)
            if isinstance(wanted, int | float):
                assert found == pytest.approx(wanted, rel=1e-6), name
            elif wanted in ("nan", None):
                assert pandas.isna(found), name
            elif isinstance(wanted, list):
                assert found == str(tuple(wanted))
            else:
                assert str(found) == wanted, name


# Live ---------------------------------------------------------------------------------------

SMALL = ("data=mnist5k", "model.hidden=[16,8]", "monitor.every=5", "batch_size=200", "epochs=3")
KILLED = """
import os, signal, sys
import gradcli

class Killer(gradcli.Recorder):
    def record(self, record):
        if hasattr(record, "loss") and hasattr(record, "clip_coefficient"):
            if len(record) and record.step[-1] >= 50:
                os.kill(os.getpid(), signal.SIGKILL)

gradcli.train(*sys.argv[2:], runs_dir=sys.argv[1], recorders=[Killer()])
"""


def test_a_run_that_was_killed_and_resumed_has_each_step_once(tracker, tmp_path, gradcli):
    words = [*SMALL, f"track=[{tracker}]", "track_layers=true"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), *words], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (directory,) = tmp_path.iterdir()
    assert load_run(directory).status == "lost"
    assert len(load_run(directory).steps) >= 50  # those after the checkpoint come again
    answer = gradcli("train", "--resume", str(directory), "--quiet")
    assert answer.code == 0, answer.err
    run = load_run(directory)
    assert run.state["resumed"] and "dropped_recorders" not in run.state
    assert run.columns()["step"].tolist() == list(range(1, 61))
    extra = compare(tracker, directory / "trackers" / tracker, run, layers=True)
    assert extra["picture"] == (directory / "plots" / "gradient_norms.png").read_bytes()
    assert extra["has_rate"]
    assert not [path for path in directory.rglob("*") if path.is_symlink()]
    remove(run)
    assert not directory.exists()


def test_all_trackers_together_change_no_weight(tmp_path, gradcli):
    for name in TRACKERS:
        pytest.importorskip(LIBRARIES.get(name, name), exc_type=ImportError)
    states = []
    for track in ("[]", f"[{','.join(TRACKERS)}]"):
        words = [*SMALL, "device=cpu", "threads=1", f"track={track}", "--quiet"]
        folder = tmp_path / str(len(states))
        assert gradcli("train", *words, "--runs-dir", str(folder)).code == 0
        (directory,) = folder.iterdir()
        states.append(final_state(directory))
        for name in TRACKERS if states[1:] else ():
            compare(name, directory / "trackers" / name, load_run(directory))
    assert states[0] == states[1]


def final_state(directory):
    import torch

    state = torch.load(directory / "checkpoints" / "last.pt", weights_only=True)
    weights = {name: value.tolist() for name, value in state["model"].items()}
    return weights, load_run(directory).columns()["loss"].tolist()


def test_the_trials_of_a_comparison_are_followed(tracker, tmp_path):
    done = package.compare(
        *("data=mnist5k", "model.hidden=[8]", "epochs=1", "batch_size=500"),
        *("protocol.tune=false", f"track=[{tracker}]"),
        optimizers=["sgd", "adam"],
        seeds=1,
        jobs=1,
        runs_dir=tmp_path,
    )
    runs = done.directory.trials()
    assert len(runs) == 2
    for run in runs:
        compare(tracker, run.path / "trackers" / tracker, run)


def test_nothing_goes_over_the_network(tracker, runs_dir_with_runs, tmp_path):
    """Not even by the process that wandb starts: all of them ask the proxy, which is the test."""
    run = find_any("one", runs_dir_with_runs)
    words = ["runs", "export", str(run.path), "--format", tracker, "-o", str(tmp_path)]
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environment = {**os.environ, "HF_TOKEN": "hf_of_somebody", "WANDB_API_KEY": "0" * 40}
        environment |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), address)
        command = [sys.executable, "-m", "gradcli", *words]
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=environment
        )
        assert answer.returncode == 0, answer.stderr
        proxy.settimeout(0.1)
        with pytest.raises(TimeoutError):
            proxy.accept()


PAGE = (Path(__file__).parents[2] / "docs" / "trackers.md").read_text(encoding="utf-8")


def test_the_commands_of_the_page_work(tmp_path, gradcli, monkeypatch):
    pytest.importorskip("tensorboardX")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    commands = [
        shlex.split(line)
        for text in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for line in text.splitlines()
    ]
    assert len(commands) == 8
    small = ("data=mnist5k", "model.hidden=[4]", "max_steps=2", "--quiet")
    assert gradcli("train", *small).code == 0
    for _, *words in commands:
        more = {"train": small, "compare-optimizers": (*small, "protocol.tune=false")}
        answer = gradcli(*words, *more.get(words[0], ()))
        assert answer.code == 0, answer.err
    runs = [load_run(path.parent) for path in Path("runs").rglob("run.json")]
    followed = [run for run in runs if (run.path / "trackers" / "tensorboard").is_dir()]
    assert len(runs) - len(followed) == 1
    assert {path.suffix for path in Path.cwd().glob("steps.*")} == {".csv", ".jsonl", ".parquet"}
    names = sorted(path.name.rpartition("-")[0] for path in Path("tb").iterdir())
    assert len(names) == 11  # the comparison's trials, and the run that came after it
    assert "adam-lr=0.002-seed=0" in names


def test_the_page_names_what_is_shown(runs_dir_with_runs):
    run = find_any("one", runs_dir_with_runs)
    words = set(re.findall(r"`([\w/]+)`", PAGE))
    for name in expected(run, layers=True):
        name = re.sub("/.*", "/LAYER", name).replace("accuracy", "METRIC")
        assert name in words, name
