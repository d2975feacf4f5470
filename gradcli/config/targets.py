"""From `_target_` to a class, and its keyword arguments checked against its signature.

A config names classes, so it must not be able to run just anything: only classes of allowed
packages, and only of the kind that the group asks for, are ever imported.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradcli.comparison.engine import Engine
from gradcli.config.schema import Section
from gradcli.errors import UserError, nearest

ALLOWED_PACKAGES = ("torch.optim", "torch.nn", "gradcli")

#: The arguments that gradcli fills in itself, so that a config cannot set them.
_FILLED_IN = {
    "model": {"input_shape", "classes", "activation"},
    "optimizer": {"params"},
    "schedule": {"optimizer"},
}

#: The arguments that gradcli fills in where a config does not: the length of the run.
_FILLED_IN_IF_MISSING = {"schedule": {"T_max", "total_steps", "total_iters"}}


@dataclass(frozen=True)
class Keyword:
    """A keyword argument that a class takes."""

    name: str
    annotation: Any
    default: Any

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        return inspect.formatannotation(self.annotation).replace("typing.", "")


def resolve_target(section: Section, file: str, allowed: Sequence[str] = ()) -> type:
    """Import the class that a section names.

    Args:
        section: the part of the config.
        file: where it comes from, for the error.
        allowed: packages that the user allows besides `ALLOWED_PACKAGES`.

    Raises:
        UserError: where the package is not allowed, there is no such class, or it is of
            another kind than the group asks for.
    """
    target = section.target
    packages = (*ALLOWED_PACKAGES, *allowed)
    where = f"{section.group}._target_ in {file}"
    if not any(target.startswith(f"{package}.") for package in packages):
        package = target.split(".")[0]
        raise UserError(
            f"'{target}' is not in a package that configs may use ({', '.join(packages)}).",
            where=where,
            hint=f"--allow-import {package}, if you trust what it runs",
        )
    module_name, _, class_name = target.rpartition(".")
    module = import_module(module_name, where)
    kind = _kind(section.group)
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [name for name, value in vars(module).items() if _is_kind(value, kind)]
        likely = nearest(class_name, classes)
        raise UserError(
            f"{module_name} has no class '{class_name}'.",
            where=where,
            choices=[f"{module_name}.{name}" for name in likely],
        )
    if not _is_kind(found, kind):
        names = " or ".join(f"{one.__module__}.{one.__qualname__}" for one in kind)
        raise UserError(f"{target} is no {names}, which {section.group} needs.", where=where)
    return found


def keywords(target: type, group: str) -> dict[str, Keyword]:
    """Return the keyword arguments of a class that a config may set, by name."""
    try:
        hints = typing.get_type_hints(target.__init__)  # type: ignore[misc]
    except (NameError, TypeError):
        hints = {}  # annotations that only a type checker can resolve are not checked
    found = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            annotation = hints.get(parameter.name, Any)
            if annotation is Any and parameter.default not in (inspect.Parameter.empty, None):
                annotation = type(parameter.default)
            found[parameter.name] = Keyword(parameter.name, annotation, parameter.default)
    return {name: found[name] for name in found if name not in _FILLED_IN.get(group, ())}


def check_arguments(section: Section, target: type, file: str) -> None:
    """Check a section's arguments against the signature of its class.

    Raises:
        UserError: for an argument that the class does not take, one of a wrong type or beyond
            what any class can use, or one that is missing.
    """
    known = keywords(target, section.group)
    for name, value in section.arguments.items():
        key = f"{section.group}.{name}"
        if name not in known:
            likely = nearest(name, known) or sorted(known)
            raise UserError(
                f"{target.__name__} takes no '{name}'.",
                where=f"{key} in {file}",
                choices=[f"{section.group}.{option}" for option in likely],
            )
        objection = _objection(key, known[name], value, target)
        if objection:
            default = known[name].default
            raise UserError(
                f"{key} is {value!r}; {objection}.",
                where=f"{key} in {file}",
                hint=None
                if default is inspect.Parameter.empty or default is None
                else f"{key}={_as_override(default)}",
            )
    optional = _FILLED_IN_IF_MISSING.get(section.group, set())
    for keyword in known.values():
        missing = keyword.name not in section.arguments and keyword.name not in optional
        if missing and keyword.default is inspect.Parameter.empty:
            raise UserError(
                f"{target.__name__} needs a value for '{keyword.name}'.",
                where=f"{section.group}.{keyword.name} in {file}",
                hint=f"{section.group}.{keyword.name}=VALUE",
            )


def _objection(key: str, keyword: Keyword, value: Any, target: type) -> str:
    """Say why an argument cannot have this value; empty where it can.

    Infinity may mean something to a class, such as no limit; to a learning rate it cannot.
    """
    if not accepts(keyword.annotation, value):
        return f"{target.__name__} takes {keyword.expected} there"
    if _has_nan(value):
        return "NaN is no number to compute with"
    if key == "optimizer.lr" and isinstance(value, int | float) and not 0 <= value < math.inf:
        return "a learning rate is a finite number, 0 or more"
    return ""


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a plain `value` may be passed where `annotation` stands.

    An int passes for a float, and a list for a tuple or a sequence. Types that a config
    cannot hold (a tensor, say) accept nothing; what is not understood accepts everything.
    """
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(accepts(part, value) for part in arguments)
    if origin is typing.Literal:
        return value in arguments
    if annotation in (None, type(None)):
        return value is None
    container = origin or annotation
    if not inspect.isclass(container):
        return True
    if container is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if container is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if issubclass(container, str | bool):
        return isinstance(value, container)
    if issubclass(container, Sequence):
        return _accepts_sequence(container, arguments, value)
    return isinstance(value, container)


def _accepts_sequence(container: type, arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    if issubclass(container, tuple) and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(accepts, arguments, value))
    return all(accepts(arguments[0], item) for item in value) if arguments else True


def _has_nan(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)


def _kind(group: str) -> tuple[type, ...]:
    """Return the classes of which an option of `group` must name one."""
    if group == "engine":  # before torch, which the process of a comparison does not load
        return (Engine,)
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


def import_module(name: str, where: str) -> types.ModuleType:
    """Import a module by name, also from the working directory.

    Raises:
        UserError: if there is none.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    # A module of the user's own lies in the working directory, which a console script does
    # not search; only a package that was allowed by name gets here.
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"The module '{error.name}' cannot be found.",
            where=where,
            hint=f"pip install the package, or run where {name.split('.')[0]}.py lies",
        ) from None
    finally:
        sys.path.remove(str(Path.cwd()))


def _as_override(value: Any) -> str:
    """Return a value as it is written in an override."""
    if isinstance(value, list | tuple):
        return f"[{','.join(_as_override(item) for item in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
