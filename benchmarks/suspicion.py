"""How often `inspect-gradients RUN --step N` is right about what a bad example looks like.

    python benchmarks/suspicion.py [--seeds 100 101 102 103] [--models logreg mlp cnn]

Bad examples are planted in the bundled digits: in one data set none, in three 1, 3 or 5% wrong
labels, in one 0.7% of each kind of bad image next to 2% wrong labels. Each model trains for four
epochs; steps from the eighth to the last are inspected. A word is *right* if the example was
planted as that, and `unlike others` if it was planted at all; `hard for it` is right if it was not.
*Shown* are the planted examples that came among the ten with the largest gradients, for `hard for
it` the sound ones there that the model gets wrong. The accuracy is the model's on the sound
examples of the batch. Wrong labels that the digits had before count as wrong words.

Prints Markdown, and exits with 1 if fewer than 80% of the times that a word was said it was right.
The seeds by which the limits were chosen are 1 and 2.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

import gradcli
from gradcli.data import load_dataset

MODELS = {"logreg": 0.003, "mlp": 0.001, "cnn": 0.001}
STEPS = (8, 20, 36, 75, 110, 140)
SETS = {"none": 0.0, "1%": 0.01, "3%": 0.03, "5%": 0.05, "images": 0.02}
"""The share of wrong labels in each."""
OF_EACH_KIND = 0.007
FLOORS = (0.0, 0.75, 0.9)
"""Where the classes of accuracy begin."""
RIGHT = 0.8
WORDS = ("mislabelled", "constant", "saturated", "inverted", "noise", "huge", "unlike", "hard")
#: What planted images are called.
PLANTED = {
    "black": "constant",
    "grey": "constant",
    "white": "saturated",
    "negative": "inverted",
    "noise": "noise",
    "scaled": "huge",
    "shifted": "unlike",
}
Tally = Counter[tuple[str, float, str]]
"""By word, class of accuracy, and `said`, `right`, `shown` or `found`."""


def spoiled(kind: str, images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return images from 0 to 1 as bad ones of a kind."""
    return {
        "black": np.zeros_like(images),
        "grey": np.full_like(images, 0.5),
        "white": np.ones_like(images),
        "negative": 1 - images,
        "noise": random.random(images.shape, dtype=np.float32),
        "scaled": 30 * images,
        "shifted": images + np.float32(0.5),
    }[kind]


def planted(path: Path, name: str, seed: int) -> list[str]:
    """Write a data set with bad examples; return the word for each, empty for sound ones."""
    digits = load_dataset("mnist5k", val=0)
    random = np.random.default_rng([seed, list(SETS).index(name)])
    x, y = digits.train.inputs.numpy() / np.float32(255), digits.train.targets.numpy().copy()
    words = [""] * len(y)
    wrong = np.flatnonzero(random.random(len(y)) < SETS[name])
    y[wrong] = (y[wrong] + random.integers(1, 10, len(wrong))) % 10
    for at in wrong:
        words[at] = "mislabelled"
    if name == "images":
        for kind, word in PLANTED.items():
            free = [at for at, said in enumerate(words) if not said]
            chosen = random.choice(free, round(OF_EACH_KIND * len(y)), replace=False)
            x[chosen] = spoiled(kind, x[chosen], random)
            for at in chosen:
                words[at] = word
    rest = {"x_val": x[:50], "y_val": y[:50], "x_test": x[:50], "y_test": y[:50]}
    np.savez(path, x_train=x, y_train=y, **rest)
    return words


def is_right(said: str, truth: str) -> bool:
    """Whether what is said of an example is true of it."""
    if said == "hard":
        return not truth
    return bool(truth) if said == "unlike" else said == truth


def counted(found: gradcli.StepInspection, words: list[str], tally: Tally) -> None:
    """Count what is said of the examples of a step."""
    sound = [one for one in found.examples if not words[one.index]]
    accuracy = np.mean([one.prediction == one.label for one in sound])
    floor = max(one for one in FLOORS if one <= accuracy)
    for one in found.shown:
        said, truth = one.suspicion.kind, words[one.index]
        tally["steps", floor, ""] += one is found.shown[0]
        if said != "not-sure":
            tally[said, floor, "said"] += 1
            tally[said, floor, "right"] += is_right(said, truth)
        if truth:
            tally[truth, floor, "shown"] += 1
            tally[truth, floor, "found"] += said == truth
        elif one.prediction != one.label:
            tally["hard", floor, "shown"] += 1
            tally["hard", floor, "found"] += said == "hard"


def measured(models: list[str], seeds: list[int], folder: Path) -> Tally:
    """Train each model on each data set with each seed, and count what is said of its steps."""
    tally: Tally = Counter()
    for seed in seeds:
        for name in SETS:
            path = folder / f"{name.strip('%')}-{seed}.npz"
            words = planted(path, name, seed)
            for model in models:
                run = gradcli.train(
                    *("data=npz", f"data.path={path}", f"model={model}", f"seed={seed}"),
                    *(f"optimizer.lr={MODELS[model]}", "epochs=4", "device=cpu", "threads=1"),
                    runs_dir=folder / "runs",
                )
                for step in STEPS:
                    counted(gradcli.inspect_step(run.path, min(step, len(run.steps))), words, tally)
    return tally


def table(tally: Tally) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| word | accuracy | right / said | found / shown |", "| --- | --- | ---: | ---: |"]
    for word in WORDS:
        for at, floor in enumerate(FLOORS):
            ceiling = FLOORS[at + 1] if at + 1 < len(FLOORS) else 1.0
            said, right, shown, found = (
                tally[word, floor, one] for one in ("said", "right", "shown", "found")
            )
            lines.append(
                f"| {word} | {floor:.0%} to {ceiling:.0%} | {right} / {said} | {found} / {shown} |"
            )
    return lines


def main() -> int:
    """Measure, print, and return 1 if a word is wrong too often."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[100, 101, 102, 103])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = measured(options.models, options.seeds, Path(folder))
    print("\n".join(table(tally)))
    print(f"\n{sum(tally['steps', floor, ''] for floor in FLOORS)} steps")
    wrong = [
        (word, floor)
        for word in WORDS
        for floor in FLOORS
        if tally[word, floor, "right"] < RIGHT * tally[word, floor, "said"]
    ]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
