"""The modules that a config may use: allowed packages, and files that the user allows by path."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.extras.missing import not_installed
from gradcli.system.source_files import module_from_file

Member = TypeVar("Member")


def name_of_allowed(allowed: str) -> str:
    """Return the name of what `--allow-import` allows: a package, or a file's own name."""
    return Path(allowed).stem if allowed.endswith(".py") else allowed


def allowed_module(name: str, allowed: Sequence[str], where: str) -> ModuleType:
    """Import a module that may be a file which the user allows.

    Raises:
        UserError: if there is none, or the file cannot be run.
    """
    for one in allowed:
        if one.endswith(".py") and name_of_allowed(one) == name:
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


def import_module(name: str, where: str) -> ModuleType:
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


def module_of_extra(name: str, library: str, where: str) -> ModuleType:
    """Import a module of a library that the extra `optimizers` installs.

    Raises:
        UserError: if it is not installed, or cannot be imported.
    """
    try:
        return _imported(name, where)
    except ModuleNotFoundError as error:
        raise not_installed(library, "optimizers", error, what="This optimizer") from error


def _imported(name: str, where: str) -> ModuleType:
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
        module = allowed_module(name_of_allowed(package), [package], "--allow-import")
        for member in getattr(module, name, ()):
            if not isinstance(member, kind):
                raise UserError(
                    f"{package}.{name} holds {member!r}, which is not a {public_name(kind)}.",
                    where="--allow-import",
                )
            yield member


def _assigns(file: Path, name: str) -> bool:
    """Whether a Python file gives a name a value at its top level, as far as its text tells."""
    try:
        return bool(re.search(rf"^{name}\b", file.read_text(encoding="utf-8"), re.MULTILINE))
    except (OSError, UnicodeDecodeError):
        return False


def public_name(kind: type) -> str:
    """Return the shortest name by which a class can be imported: `gradcli.records.Recorder`."""
    module = kind.__module__
    while (package := module.rpartition(".")[0]) and kind is getattr(
        sys.modules.get(package), kind.__name__, None
    ):
        module = package
    return f"{module}.{kind.__qualname__}"
