"""Generated cases of overrides and of calls of the API, most of them hostile, from a seed.

The keys, their types and their limits are those of the program itself: of the schema of the
config, of the files in `configs/` and of the signatures of the classes that they name.
"""

from __future__ import annotations

import random
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gradcli.config.config_files import GROUPS, ConfigFiles
from gradcli.config.schema import (
    MOST,
    CompareConfig,
    InspectConfig,
    Section,
    TrainConfig,
)
from gradcli.config.targets import keywords, resolve_target

#: Values that fit few keys, or none: as an override writes them.
HOSTILE = (
    *("", "null", "true", "False", "abc", "???", "a b", "'", '"', "\\", "*", "-", "=", "a=b"),
    *("0", "-0.0", "1", "-1", "0.5", "1.5", "1e-320", "1e23", "-1e23", "1e308", "1e999", "1_000"),
    *("nan", "-nan", "inf", "-inf", ".nan", ".inf", "NaN", "Infinity"),
    *(str(2**31), str(2**32), str(2**53 + 1), str(MOST), str(MOST + 1), str(-MOST - 2)),
    *(str(10**23), "9" * 400, "9" * 5000, "0x10", "1j"),
    *("[]", "[0]", "[1]", "[-1]", "[1.5]", "[nan]", "[inf,-inf]", "[null]", "[a,b]", "[[1]]"),
    *("[0.9,0.999]", "[1,2,3]", f"[{10**23}]", f"[{MOST}]", f"[{MOST + 1}]", "[" * 40 + "]" * 40),
    *("{}", "{a:1}", "{a:{b:[1]}}", "{_target_:os.system}", "1,2", "range(1,3)", "glob(*)"),
    *("${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:NOT_SET}", "${oc.decode:1}", "${"),
    *(
        "é",
        "\u202e3",
        "\u0665",
        "ℵ₀",
        "😀",
        "'a\\nb'",
        "a\nb",
        "a\tb",
        "\x1b[31m",
        "\udcff",
        "\x7f",
    ),
    *("../../evil", "/etc/passwd", "~", "-h", "--help", "torch.nn.Module", "os.system"),
    *("gradcli.models.Initialisation", "torch.optim.Optimizer", "torch.optim.LBFGS", "x" * 300),
    *("torch.optim.lr_scheduler.LRScheduler", "torch.nn.Linear", "torch.nn.BatchNorm2d"),
)
#: What Python code may hand over instead of a text.
OBJECTS = (
    *(None, True, 0, -1, 2**63, 10**400, 0.5, float("nan"), float("inf"), "", "é", "\udcff"),
    *(b"bytes", (), [], [float("nan")], {}, {"a": 1}, object(), int, Path("nowhere"), 1j),
)
_TINY = ("data=mnist5k", "model=logreg", "max_steps=2")
_SHORTHANDS = ("data", "model", "activation", "optimizer", "lr", "clip", "epochs", "batch_size")


@dataclass(frozen=True)
class Case:
    """What is tried.

    `kind` is how: `train` composes a config as `gradcli train --show-config` does, `inspect` and
    `compare` compose theirs, `trained` trains two steps and answers in JSON, `api` calls a
    function. `words` are overrides, and `options` are keyword arguments.
    """

    number: int
    kind: str
    words: tuple[str, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield `count` cases; each depends on the seed and its own number alone."""
    for number in range(count):
        yield _case(number, random.Random(f"{seed}/{number}"))


def _case(number: int, draw: random.Random) -> Case:
    kind = draw.choices(("train", "inspect", "compare", "trained", "api"), (50, 12, 18, 12, 8))[0]
    if kind == "api":
        option = draw.choice([*_SHORTHANDS, "seed", "name", "device", "nothing"])
        return Case(number, kind, _TINY, ((option, draw.choice(OBJECTS)),))
    if kind == "trained":
        return Case(number, kind, (*_TINY, _override(draw, "train")))
    words = [_override(draw, kind) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
    return Case(number, kind, ("data=mnist5k", *words))


def _override(draw: random.Random, root: str) -> str:
    key, valid = draw.choice(settable(root))
    prefix = draw.choices(("", "+", "++", "~"), (90, 4, 3, 3))[0]
    if draw.random() < 0.05:
        key = draw.choice((key[:-1], key + "x", f"{key}.{key}", key.upper(), "", "hydra.run.dir"))
    value = draw.choice(valid) if valid and draw.random() < 0.45 else draw.choice(HOSTILE)
    return f"{prefix}{key}={value}"


@cache
def settable(root: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the keys of a config with values at and around their limits, or their options."""
    schemas = {"train": (TrainConfig,), "inspect": (TrainConfig, InspectConfig)}
    found: dict[str, tuple[str, ...]] = {}
    for schema in schemas.get(root, (TrainConfig, CompareConfig)):
        found |= _of_schema(schema)
    files = ConfigFiles()
    for group in GROUPS:
        options = files.options(group)
        found[group] = tuple(options)
        for option in options:
            found |= _of_option(files, group, option)
    return tuple(sorted(found.items()))


def _of_schema(schema: type, prefix: str = "") -> dict[str, tuple[str, ...]]:
    """Return the keys of a dataclass; those below a section come from the files."""
    hints = typing.get_type_hints(schema)
    found: dict[str, tuple[str, ...]] = {}
    for item in fields(schema):
        key, hint = prefix + item.name, hints[item.name]
        if is_dataclass(hint) and hint is not Section:
            found |= _of_schema(hint, f"{key}.")
        elif "least" in item.metadata:
            least, most = item.metadata["least"], item.metadata.get("most", MOST)
            around = (least - 1, least, least + 1, most, most + 1)
            found[key] = tuple(map(str, around))
        else:
            found[key] = tuple(map(str, typing.get_args(hint)))
    return found


def _of_option(files: ConfigFiles, group: str, option: str) -> dict[str, tuple[str, ...]]:
    """Return the keys that the class of an option takes; a valid value is that of its file."""
    values = OmegaConf.to_container(OmegaConf.load(files.path(group, option)))
    assert isinstance(values, dict)
    target = resolve_target(Section(group, option, values["_target_"], {}), option)
    names = {*keywords(target, group), *map(str, values)}
    return {
        f"{group}.{name}": (str(values[name]).replace(" ", ""),) if name in values else ()
        for name in names
    }
