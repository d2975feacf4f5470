"""From the `_target_` of a section to its class, and from the class to an object.

A config names classes, so it must not be able to run just anything: only classes from allowed
packages, and only of the kind that the group asks for, are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gradcli.comparison.engine import Engine
from gradcli.comparison.search import Searcher
from gradcli.config.schema import Section
from gradcli.config.targets.importing import (
    allowed_module,
    module_of_extra,
    name_of_allowed,
    public_name,
)
from gradcli.errors import UserError, exception_in_words, nearest, place_in_own_code
from gradcli.records import Recorder
from gradcli.trackers.tracker import Tracker

ALLOWED_PACKAGES = ("torch.optim", "torch.nn", "gradcli")

#: The classes that shipped options take from libraries of the extra `optimizers`, and under which
#: name a library is installed. Nothing else of these libraries is allowed unless the user says so.
SHIPPED_CLASSES = {
    "pytorch_optimizer.AdEMAMix": "pytorch-optimizer",
    "pytorch_optimizer.Lion": "pytorch-optimizer",
    "pytorch_optimizer.Prodigy": "pytorch-optimizer",
    "pytorch_optimizer.SOAP": "pytorch-optimizer",
    "schedulefree.AdamWScheduleFree": "schedulefree",
    "schedulefree.SGDScheduleFree": "schedulefree",
}


def resolve_target(section: Section, file: str, allowed: Sequence[str] = ()) -> type:
    """Import the class that a section names.

    Args:
        section: the part of the config.
        file: where it comes from, for the error.
        allowed: packages that the user allows, apart from `ALLOWED_PACKAGES`.

    Raises:
        UserError: if the package is not allowed, there is no such class, or it is not of the
            kind that the group asks for, or its library is not installed.
    """
    target = section.target
    packages = (*ALLOWED_PACKAGES, *map(name_of_allowed, allowed))
    where = f"{section.key}._target_ in {file}"
    library = SHIPPED_CLASSES.get(target)
    if library is None and not any(target.startswith(f"{package}.") for package in packages):
        package = target.split(".")[0]
        raise UserError(
            f"'{target}' is not in a package that configs may use ({', '.join(packages)}).",
            where=where,
            hint=f"--allow-import {package}, if you trust what it runs",
        )
    module_name, _, class_name = target.rpartition(".")
    module = (
        allowed_module(module_name, allowed, where)
        if library is None
        else module_of_extra(module_name, library, where)
    )
    kind = _kind(section.group)
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [name for name, value in vars(module).items() if _is_concrete(value, kind)]
        likely = nearest(class_name, classes)
        raise UserError(
            f"{module_name} has no class '{class_name}'.",
            where=where,
            choices=[f"{module_name}.{name}" for name in likely],
        )
    if not _is_kind(found, kind):
        names = " or ".join(map(public_name, kind))
        raise UserError(
            f"{target} does not derive from {names}, as {_article(section.group)} must.",
            where=where,
        )
    if missing := getattr(found, "__abstractmethods__", None):
        concrete = [name for name, value in vars(module).items() if _is_concrete(value, kind)]
        raise UserError(
            f"{target} is abstract: it lacks {' and '.join(sorted(missing))}, "
            "which the classes that derive from it define.",
            where=where,
            choices=[f"{module_name}.{name}" for name in concrete],
        )
    return found


def construct(target: type, arguments: Mapping[str, Any], group: str) -> Any:
    """Make an object of a class that a config names.

    Raises:
        UserError: if its constructor raises; the exception that it raised is the cause.
    """
    try:
        return target(**arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{target.__name__} cannot be built: {exception_in_words(error)}",
            where=place_in_own_code(error) or group,
        ) from error


def _article(group: str) -> str:
    return f"{'an' if group[0] in 'aeio' else 'a'} {group}"


def _kind(group: str) -> tuple[type, ...]:
    """Return the classes from which the class of an option of `group` must derive."""
    # These come before torch, which the process of a comparison does not load.
    if group == "engine":
        return (Engine,)
    if group == "search":
        return (Searcher,)
    if group == "recorder":
        return (Recorder,)
    if group == "tracker":
        return (Tracker,)
    if group == "data":
        from gradcli.data import DataSource

        return (DataSource,)
    if group == "augment":
        from gradcli.data import Augmentation

        return (Augmentation,)
    import torch

    if group in ("model", "activation"):
        return (torch.nn.Module,)
    if group == "optimizer":
        return (torch.optim.Optimizer,)
    if group == "init":
        from gradcli.models import Initialisation

        return (Initialisation,)
    if group == "clip":
        from gradcli.gradients.clipping import Clip

        return (Clip,)
    from gradcli.optim import Schedule

    return (Schedule, torch.optim.lr_scheduler.LRScheduler)


def _is_kind(value: Any, kind: tuple[type, ...]) -> bool:
    return inspect.isclass(value) and issubclass(value, kind)


def _is_concrete(value: Any, kind: tuple[type, ...]) -> bool:
    return _is_kind(value, kind) and not inspect.isabstract(value)
