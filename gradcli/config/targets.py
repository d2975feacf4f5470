"""From `_target_` to a class, and its keyword arguments checked against its signature.

A config names classes, so it must not be able to run just anything: only classes from allowed
packages, and only of the kind that the group asks for, are used.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gradcli.comparison.engine import Engine
from gradcli.config.schema import MOST, Section
from gradcli.errors import UserError, exception_in_words, nearest, place_in_own_code
from gradcli.records import Recorder
from gradcli.system.source_files import module_from_file

Member = TypeVar("Member")

ALLOWED_PACKAGES = ("torch.optim", "torch.nn", "gradcli")

#: The arguments that gradcli fills in itself, so that a config cannot set them.
_FILLED_IN = {
    "model": {"input_shape", "classes", "activation"},
    "optimizer": {"params"},
    "schedule": {"optimizer"},
}

#: The arguments that gradcli fills in if a config does not: the length of the run.
_FILLED_IN_IF_MISSING = {"schedule": {"T_max", "total_steps", "total_iters"}}


@dataclass(frozen=True)
class Keyword:
    """A keyword argument that a class takes."""

    name: str
    annotation: Any
    default: Any


def resolve_target(section: Section, file: str, allowed: Sequence[str] = ()) -> type:
    """Import the class that a section names.

    Args:
        section: the part of the config.
        file: where it comes from, for the error.
        allowed: packages that the user allows, apart from `ALLOWED_PACKAGES`.

    Raises:
        UserError: if the package is not allowed, there is no such class, or it is not of the
            kind that the group asks for.
    """
    target = section.target
    packages = (*ALLOWED_PACKAGES, *map(_module_name, allowed))
    where = f"{section.key}._target_ in {file}"
    if not any(target.startswith(f"{package}.") for package in packages):
        package = target.split(".")[0]
        raise UserError(
            f"'{target}' is not in a package that configs may use ({', '.join(packages)}).",
            where=where,
            hint=f"--allow-import {package}, if you trust what it runs",
        )
    module_name, _, class_name = target.rpartition(".")
    module = _allowed_module(module_name, allowed, where)
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
        names = " or ".join(f"{one.__module__}.{one.__qualname__}" for one in kind)
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


def keywords(target: type, group: str) -> dict[str, Keyword]:
    """Return the keyword arguments that a config may set for a class, by name."""
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
        UserError: if the class does not take an argument, or needs one that is missing, or the
            value has the wrong type or can never be right.
    """
    known = keywords(target, section.group)
    for name, value in section.arguments.items():
        key = f"{section.key}.{name}"
        if name not in known:
            likely = nearest(name, known) or sorted(known)
            raise UserError(
                f"{target.__name__} takes no '{name}'.",
                where=f"{key} in {file}",
                choices=[f"{section.key}.{option}" for option in likely],
            )
        is_rate = section.group == "optimizer" and name == "lr"
        objection = _objection(known[name], value, target, is_rate=is_rate)
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
                where=f"{section.key}.{keyword.name} in {file}",
                hint=f"{section.key}.{keyword.name}=VALUE",
            )


def configured_rate(target: type, arguments: Mapping[str, Any]) -> float | None:
    """Return the learning rate that an optimizer's arguments set, or its class; None without."""
    value: Any = arguments.get("lr")
    if value is None:
        keyword = keywords(target, "optimizer").get("lr")
        value = None if keyword is None else keyword.default
    return float(value) if isinstance(value, int | float) else None


def _objection(keyword: Keyword, value: Any, target: type, *, is_rate: bool) -> str:
    """Say why an argument cannot have this value; empty if it can.

    Infinity may make sense to a class, as "no limit"; as a learning rate it cannot.
    """
    if not accepts(keyword.annotation, value):
        return f"{target.__name__} expects {in_words(keyword.annotation)}"
    if _has_nan(value):
        return "NaN is not a value to compute with"
    if _has_too_large_integer(value):
        exponent = "; a larger number needs an exponent, as 1e+23 has"
        limits = f"a whole number must be from {-MOST - 1:,} to {MOST:,}"
        return limits + exponent * accepts(keyword.annotation, float(MOST))
    if is_rate and isinstance(value, int | float) and not 0 <= value < math.inf:
        return "a learning rate must be a finite number, 0 or more"
    return ""


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a plain `value` may be passed to a parameter with this annotation.

    An int passes as a float, and a list as a tuple or a sequence. Types that a config cannot
    hold (a tensor, say) accept nothing; annotations that are not understood accept everything.
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


_WORDS: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "integers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
    bool: ("true or false", "values of true or false"),
    type(None): ("null", "nulls"),
    None: ("null", "nulls"),
}
_EXAMPLES: dict[Any, str] = {int: "[64]", float: "[0.9, 0.999]"}


def in_words(annotation: Any) -> str:
    """Say what an annotation takes: `a list of integers, such as [64]`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(part) for part in _writable(annotation))
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if annotation in _WORDS:
        return _WORDS[annotation][0]
    container = origin or annotation
    if not inspect.isclass(container) or not issubclass(container, Sequence):
        return f"a value of the type {inspect.formatannotation(annotation).replace('typing.', '')}"
    items = [one for one in arguments if one is not Ellipsis]
    if not items:
        return "a list"
    many = _WORDS.get(_writable(items[0])[0], ("", "values"))[1]
    fixed = issubclass(container, tuple) and Ellipsis not in arguments
    if len(set(items)) == 1 and fixed:
        many = f"{len(items)} {many}"
    elif len(items) > 1:
        many = f"{len(items)} values"
    example = f", such as {_EXAMPLES[items[0]]}" if items[0] in _EXAMPLES and not fixed else ""
    return f"a list of {many}{example}"


def _writable(annotation: Any) -> tuple[Any, ...]:
    """Return those members of a union that a config can hold, or all if it can hold none."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return (annotation,)
    members = typing.get_args(annotation)
    return (
        tuple(one for one in members if one in _WORDS or typing.get_origin(one) is not None)
        or members
    )


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


def _has_too_large_integer(value: Any) -> bool:
    """Whether a whole number is in it that torch cannot take, which is limited to 64 bits."""
    if isinstance(value, list | tuple):
        return any(map(_has_too_large_integer, value))
    return isinstance(value, int) and not -MOST - 1 <= value <= MOST


def _kind(group: str) -> tuple[type, ...]:
    """Return the classes from which the class of an option of `group` must derive."""
    # These come before torch, which the process of a comparison does not load.
    if group == "engine":
        return (Engine,)
    if group == "recorder":
        return (Recorder,)
    if group == "data":
        from gradcli.data import DataSource

        return (DataSource,)
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


def _module_name(allowed: str) -> str:
    """Return the name of what `--allow-import` allows: a package, or a file's own name."""
    return Path(allowed).stem if allowed.endswith(".py") else allowed


def _allowed_module(name: str, allowed: Sequence[str], where: str) -> types.ModuleType:
    """Import a module that may be a file which the user allows.

    Raises:
        UserError: if there is none, or the file cannot be run.
    """
    for one in allowed:
        if one.endswith(".py") and _module_name(one) == name:
            try:
                return module_from_file(Path(one).absolute())
            except OSError as error:
                problem = f"{one} cannot be read: {error.strerror or error}."
                raise UserError(problem, where="--allow-import") from None
            except Exception as error:
                raise UserError(
                    f"{one} cannot be run: {exception_in_words(error)}",
                    where=place_in_own_code(error) or where,
                ) from error
    return import_module(name, where)


def import_module(name: str, where: str) -> types.ModuleType:
    """Import a module by name, also from the working directory.

    Raises:
        UserError: if there is none, or it cannot be imported.
    """
    try:
        return _imported(name, where)
    except ModuleNotFoundError:
        pass
    # A user's own module may be in the working directory, where a console script does not
    # look. Only a package that was allowed by name gets here.
    sys.path.insert(0, str(Path.cwd()))
    try:
        return _imported(name, where)
    except ModuleNotFoundError as error:
        raise UserError(
            f"There is no module '{error.name}'.",
            where=where,
            hint=f"install the package, or run gradcli in the folder of {name.split('.')[0]}.py",
        ) from None
    finally:
        sys.path.remove(str(Path.cwd()))


def _imported(name: str, where: str) -> types.ModuleType:
    """Import a module.

    Raises:
        ModuleNotFoundError: if there is none.
        UserError: if it raises anything else, as a package that was built for another PyTorch does.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except Exception as error:
        raise UserError(
            f"{name} cannot be imported: {exception_in_words(error)}",
            where=place_in_own_code(error) or where,
            hint=f"python -c 'import {name}', which shows the whole error",
        ) from error


def members_of(packages: Sequence[str], name: str, kind: type[Member]) -> Iterator[Member]:
    """Yield what the user's own packages list under a name, such as `PROBES`.

    Args:
        packages: those that the user allows; one without the name adds nothing.
        name: of a list or tuple at the top level of a package.
        kind: what each member must be.

    Raises:
        UserError: if a package cannot be imported, or a member is of another kind.
    """
    for package in packages:
        if package.endswith(".py") and not _assigns(Path(package), name):
            continue  # it need not run for this
        module = _allowed_module(_module_name(package), [package], "--allow-import")
        for member in getattr(module, name, ()):
            if not isinstance(member, kind):
                raise UserError(
                    f"{package}.{name} holds {member!r}, which is not a "
                    f"{kind.__module__}.{kind.__qualname__}.",
                    where="--allow-import",
                )
            yield member


def _assigns(file: Path, name: str) -> bool:
    """Whether a Python file gives a name a value at its top level, as far as its text tells."""
    try:
        return bool(re.search(rf"^{name}\b", file.read_text(encoding="utf-8"), re.MULTILINE))
    except (OSError, UnicodeDecodeError):
        return False


def _as_override(value: Any) -> str:
    """Return a value as an override writes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(_as_override(item) for item in value)}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
