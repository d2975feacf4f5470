"""Files of the user's own from the command line: each format trains, resumes and is inspected."""

import json

import numpy as np
import pytest

import gradcli as gc
from gradcli.config import load_config
from gradcli.errors import UserError
from gradcli.runs import load_run

RANDOM = np.random.default_rng(0)
SMALL = ("max_steps=6", "batch_size=8", "device=cpu")


def write_npz(folder):
    images = RANDOM.integers(0, 256, (48, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "mine.npz", x_train=images, y_train=np.arange(48) % 3)
    return [f"data.path={folder / 'mine.npz'}", "model=cnn", "model.channels=[4]"]


def write_idx(folder):
    for name, values, code in (
        ("train-inputs-idx2-float", RANDOM.normal(size=(48, 5)).astype(">f4"), 0x0D),
        ("train-labels-idx1-ubyte", (np.arange(48) % 3).astype(np.uint8), 0x08),
    ):
        header = bytes([0, 0, code, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        (folder / name).write_bytes(header + values.tobytes())
    return [f"data.folder={folder}", "model.hidden=[8]"]


def write_images(folder):
    image = pytest.importorskip("PIL.Image")
    for index, pixels in enumerate(RANDOM.integers(0, 256, (48, 8, 8, 3), dtype=np.uint8)):
        path = folder / "pictures" / ("train", "test")[index % 4 == 0] / "abc"[index % 3]
        path.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(path / f"{index}.png")
    return [f"data.folder={folder / 'pictures'}", "data.size=[6,6]", "model=logreg"]


def write_csv(folder):
    rows = [
        f"{a:.4f},{b:.4f},{'x' if a > 0 else 'y'},{a * b:.4f}"
        for a, b in RANDOM.normal(size=(48, 2))
    ]
    (folder / "mine.csv").write_text("\n".join(("a,b,sign,product", *rows)))
    choice = ["data.target=product", "data.categorical=[sign]", "model.hidden=[8]"]
    return [f"data.path={folder / 'mine.csv'}", *choice]


def write_parquet(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    columns = {"a": RANDOM.normal(size=48), "kind": ["x", "y", "z"] * 16}
    parquet.write_table(pyarrow.table(columns), folder / "mine.parquet")
    return [f"data.path={folder / 'mine.parquet'}", "data.target=kind", "model.hidden=[8]"]


def write_text(folder):
    (folder / "mine.txt").write_text("she sells sea shells on the sea shore. " * 60)
    return [f"data.path={folder / 'mine.txt'}", "data.length=16", "model=charlm", "model.width=8"]


FORMATS = {
    "npz": ("npz", write_npz, "accuracy"),
    "idx": ("arrays", write_idx, "accuracy"),
    "images": ("images", write_images, "accuracy"),
    "csv": ("table", write_csv, "mse"),
    "parquet": ("table", write_parquet, "accuracy"),
    "text": ("text", write_text, "cross_entropy"),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_trains_resumes_and_is_inspected(kind, gradcli, tmp_path, runs_dir):
    option, write, metric = FORMATS[kind]
    words = [f"data={option}", "data.name=mine", *write(tmp_path)]
    answer = gradcli("train", *words, *SMALL[1:], "epochs=1", "--no-live")
    assert answer.code == 0, answer.err
    run = load_run(next(runs_dir.iterdir()))
    assert (run.info.data.name, run.info.metric.name) == ("mine", metric)
    assert "mine" in answer.err
    assert load_config(run.config, where="here").config.data.name == "mine"
    resumed = gradcli("train", "--resume", "latest", "epochs=2", "--no-live")
    assert resumed.code == 0, resumed.err
    assert np.isfinite(load_run(next(runs_dir.iterdir())).steps.loss).all()
    fresh = gradcli("inspect-gradients", *words, "--probe", "noise,histograms", "--json")
    assert fresh.code == 0, fresh.err
    probes = json.loads(fresh.out)["probes"]
    assert not [name for name, result in probes.items() if "error" in result]


def test_the_command_of_a_winner_names_the_option(tmp_path, runs_dir):
    comparison = gc.compare(
        "data=table",
        "data.name=mine",
        *write_csv(tmp_path),
        *SMALL,
        "protocol.tune=false",
        optimizers=["sgd"],
        seeds=1,
        jobs=1,
        runs_dir=runs_dir,
    )
    words = comparison.summary.winner_command.split()
    assert {"data=table", "data.name=mine"} <= set(words)


# A language model ---------------------------------------------------------------------------------


def sentences(length):
    """A text that the last byte does not tell much about, but the word before it does."""
    words = ["cat", "dog", "mat", "rat", "hen", "hat", "pig", "log", "sun", "den"]
    text, word = "", 0
    while len(text) < length:
        word = (3 * word + int(RANDOM.integers(1, 3))) % len(words)
        text += words[word] + " "
    return text[:length]


def bigram_loss(train, val):
    """The loss in nats per byte of pairs counted in `train`, with one added to each of them."""
    counts = np.ones((256, 256))
    np.add.at(counts, (train[:-1], train[1:]), 1)
    probabilities = counts / counts.sum(axis=1, keepdims=True)
    return -np.log(probabilities[val[:-1], val[1:]]).mean()


def test_a_transformer_beats_counts_of_pairs(tmp_path, runs_dir):
    text = sentences(20_000)
    (tmp_path / "mine.txt").write_text(text)
    run = gc.train(
        "data=text",
        f"data.path={tmp_path / 'mine.txt'}",
        "data.length=32",
        "model=charlm",
        "model.width=32",
        "optimizer.lr=0.01",
        "batch_size=32",
        "epochs=6",
        "device=cpu",
        runs_dir=runs_dir,
    )
    values = np.frombuffer(text.encode(), dtype=np.uint8)
    val = [record.score for record in run.evals if record.split == "val"]
    assert val[-1] < 0.8 * bigram_loss(values[:16_000], values[16_000:18_000])


# Mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("write", "words", "message"),
    [
        (write_csv, ["data=table", "model=rnn"], "reads images of shape (channels, height, width)"),
        (write_csv, ["data=table", "model=charlm"], "reads tokens, which are integers"),
        (write_text, ["data=text", "model=cnn"], "an example of this data set has the shape (16,)"),
        (write_text, ["data=text", "model=mlp"], "a sequence of 16 tokens"),
        (write_npz, ["data=npz", "data.name=mnist"], "is the name of a data set that is shipped"),
        (write_npz, ["data=npz", "data.loss=mae"], "data.loss is 'mae'"),
        (write_npz, ["data=npz", "data.folder=x"], "read data.folder"),
    ],
)
def test_a_mistake_is_answered_in_words(write, words, message, gradcli, tmp_path, runs_dir):
    given = [word for word in write(tmp_path) if not word.startswith("model")]
    answer = gradcli("train", *given, *words, *SMALL)
    assert answer.code == 2
    assert message in answer.message
    assert "Traceback" not in answer.err


def test_a_loss_of_log_probabilities_is_refused_with_a_model_that_returns_logits(tmp_path):
    np.savez(tmp_path / "mine.npz", x=RANDOM.normal(size=(48, 3)), y=np.arange(48) % 3)
    words = [f"data.path={tmp_path / 'mine.npz'}", "data.loss=nll", *SMALL]
    with pytest.raises(UserError, match="MLP returns logits") as caught:
        gc.train("data=npz", *words, runs_dir=tmp_path / "runs")
    assert caught.value.hint.startswith("data.loss=cross_entropy")


def test_a_file_that_has_changed_is_to_be_put_back(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, x=RANDOM.normal(size=(48, 3)), y=np.arange(48) % 3)
    words = ["data=npz", f"data.path={path}", *SMALL]
    run = gc.train(*words, runs_dir=tmp_path / "runs")
    np.savez(path, x=RANDOM.normal(size=(48, 3)), y=np.arange(48) % 3)
    with pytest.raises(UserError, match="has changed since then") as caught:
        gc.inspect_step(run.path, 1)
    assert caught.value.hint == f"put the original data back at {path}"
