"""What command-line and Python arguments are short for: overrides and a target."""

from collections.abc import Sequence
from pathlib import Path

from gradcli.errors import UserError, nearest

SHORTHANDS = {
    "data": "data",
    "model": "model",
    "activation": "activation",
    "optimizer": "optimizer",
    "lr": "optimizer.lr",
    "clip": "clip",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "seed": "seed",
    "device": "device",
    "name": "name",
}

#: The options of `model` that take a library's networks by name.
ZOOS = ("torchvision", "timm")

#: What a word begins with that chooses a problem of the user's own.
PROBLEM = "problem="
#: Groups that a problem leaves without a meaning.
_BROUGHT_BY_A_PROBLEM = ("model", "activation", "init", "experiment")

_COMPARISON = {
    "optimizers": "optimizers=[{}]",
    "lrs": "lrs=[{}]",
    "seeds": "protocol.seeds={}",
    "protocol": "protocol={}",
    "jobs": "engine.jobs={}",
    "engine": "engine={}",
}
#: How settings are searched if only the keys are given.
_USUAL_SEARCH = "search=sobol"


def comparison_overrides(*, search: str | None = None, **options: str | None) -> list[str]:
    """Return the overrides for the options of a comparison; None stands for not given.

    Later overrides win, so that `search=tpe` may stand beside the keys to search.
    """
    arguments = [_COMPARISON[name].format(value) for name, value in options.items() if value]
    if search is not None:
        quoted = ",".join(f"'{key.strip()}'" for key in search.split(","))
        arguments += [_USUAL_SEARCH, f"search_keys=[{quoted}]"]
    return ["lrs=auto" if word == "lrs=[auto]" else word for word in arguments]


def inspection_overrides(*, probe: str | None, check: bool) -> list[str]:
    """Return the overrides for the options of an inspection; None stands for not given."""
    return [f"probes=[{probe}]"] * (probe is not None) + ["check=true"] * check


def expand_zoo(words: Sequence[str]) -> list[str]:
    """Replace `model=torchvision.NAME` and `model=timm.NAME` by the option and its `model.name`."""
    expanded = []
    for word in words:
        zoo, dot, name = word.removeprefix("model=").partition(".")
        if word.startswith("model=") and dot and zoo in ZOOS:
            expanded += [f"model={zoo}", f"model.name={name}"]
        else:
            expanded.append(word)
    return expanded


def expand_problem(words: Sequence[str]) -> list[str]:
    """Replace `problem=FILE:NAME` by the overrides of the data set that it stands for.

    Raises:
        UserError: if it names no Python file, or the words choose a model beside it.
    """
    chosen = [word for word in words if word.startswith(PROBLEM)]
    if not chosen:
        return list(words)
    for word in words:
        key = word.lstrip("+~").partition("=")[0].partition(".")[0]
        if key in _BROUGHT_BY_A_PROBLEM or word.startswith("data="):
            raise UserError(
                f"'{word}' chooses what the problem brings itself.",
                where=chosen[-1],
                hint=f"{chosen[-1]}, without {word}; or leave out the problem",
            )
    file, name = problem_place(chosen[-1])
    quoted = str(file).replace("\\", "\\\\").replace("'", "\\'")
    overrides = ["data=problem", f"data.file='{quoted}'", f"data.variable='{name}'"]
    return [*overrides, *(word for word in words if word not in chosen)]


def problem_files(words: Sequence[str]) -> list[str]:
    """Return the files that `problem=FILE:NAME` names: whoever types it lets them run."""
    return [str(problem_place(word)[0]) for word in words if word.startswith(PROBLEM)]


def problem_place(word: str) -> tuple[Path, str]:
    """Return the absolute path and the name that `problem=FILE:NAME` gives.

    Raises:
        UserError: if it names no Python file, or no name in it.
    """
    value = word.removeprefix(PROBLEM)
    file, colon, name = value.rpartition(":")
    if not colon:
        file, name = value, "problem"
    path = Path(file).absolute()
    if path.suffix != ".py" or not name.isidentifier():
        raise UserError(
            f"'{word}' does not name a problem in a Python file.",
            where="problem",
            hint="problem=FILE.py:NAME",
        )
    if not path.is_file():
        raise UserError(
            f"There is no file {path}.",
            where=word,
            choices=nearest(path.name, sorted(one.name for one in path.parent.glob("*.py"))),
        )
    return path, name


def split_target(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """Separate the target from the overrides: `KEY=VALUE` is an override unless it is a folder.

    Raises:
        UserError: if there is more than one target.
    """
    targets = [word for word in arguments if "=" not in word or Path(word).is_dir()]
    if len(targets) > 1:
        raise UserError(
            f"'{targets[1]}' is a second target, but only one can be inspected at a time.",
            where="TARGET",
            hint=f"gradcli inspect-gradients {targets[0]}",
        )
    overrides = [word for word in arguments if word not in targets]
    return (targets[0] if targets else None), overrides
