"""The bundled text, and what a transformer learns of it: more than which letter follows which."""

import hashlib
import math

import numpy as np

import gradcli
from gradcli.data import load_dataset
from gradcli.data.shipped.austen import TEXT


def test_it_is_the_text_that_its_provenance_describes():
    content = TEXT.read_bytes()
    provenance = (TEXT.parent / "PROVENANCE.md").read_text(encoding="utf-8")
    text = content.decode("ascii")
    size = f"{len(content):,} bytes of ASCII in {len(text.splitlines()):,} lines"
    assert size in provenance
    assert text.startswith("PRIDE AND PREJUDICE\n\nBy Jane Austen\n")
    assert [line for line in text.splitlines() if line.startswith("Chapter")] == [
        f"Chapter {number}" for number in range(1, 8)
    ]
    assert hashlib.sha256(content).hexdigest()[:16] == "f7de6650ee58f85a"


def test_it_is_read_by_name_alone():
    data = load_dataset("austen")
    assert (data.info.name, data.info.shape, data.vocabulary) == ("austen", (32,), 256)
    assert bytes(data.train.inputs[0].tolist()) == TEXT.read_bytes()[:32]
    assert bytes(data.train.targets[1].tolist()) == TEXT.read_bytes()[5:37]


def loss_of_bigrams(train, val):
    """The cross-entropy of each byte given the one before, counted in the training text.

    What was not seen gets a part of the frequency of the byte alone; the part is the one, of a few,
    that suits the validation text best.
    """
    pairs, single = np.zeros((256, 256)), np.ones(256) * 1e-3
    np.add.at(pairs, (train[:-1], train[1:]), 1)
    np.add.at(single, train, 1)
    single /= single.sum()
    return min(
        -np.log(
            (pairs + weight * single)[val[:-1], val[1:]] / (pairs.sum(1) + weight)[val[:-1]]
        ).mean()
        for weight in (1, 5, 15, 50)
    )


def test_charlm_beats_a_bigram_model(tmp_path):
    content = np.frombuffer(TEXT.read_bytes(), dtype=np.uint8)
    part = round(0.1 * len(content))
    bigrams = loss_of_bigrams(content[: -2 * part], content[-2 * part : -part])
    assert 2.3 < bigrams < 2.6 < math.log(256)
    words = ("data=austen", "model=charlm", "max_steps=150", "threads=1", "device=cpu")
    run = gradcli.train(*words, runs_dir=tmp_path)
    *_, loss = (one.loss for one in run.evals if one.split == "val")
    assert loss < bigrams - 0.05
