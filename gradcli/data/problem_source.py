"""The data set that a problem of the user's own brings, found by file and name.

The file is the user's code. It is run only if whoever calls gradcli has named it: on the command
line, as `problem=FILE:NAME` or with `--allow-import FILE`. A config or a run directory that names
it does not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset
from gradcli.data.problem import Problem
from gradcli.errors import UserError, exception_in_words, nearest, place_in_own_code
from gradcli.system.source_files import file_sha256, module_from_file

#: The problems that Python calls of this process have handed over, by file and name.
_given: dict[tuple[str, str], Problem] = {}


class ProblemSource(DataSource):
    """A problem in a Python file.

    Args:
        file: the absolute path of the file; empty for a problem that only this process has.
        variable: the name of the problem there.
    """

    def __init__(self, file: str = "", variable: str = "problem") -> None:
        self._file, self._name = file, variable

    def load(self, request: DataRequest) -> Dataset:
        """Return the problem's examples, with its objective and its model."""
        if request.val is not None or request.folder is not None:
            key = "data.val" if request.val is not None else "data.folder"
            raise UserError(
                f"A problem brings its own splits; {key} does not change them.",
                where=key,
                hint="gradcli.Problem(..., val=..., test=...)",
            )
        problem = _given.get((self._file, self._name)) or self._found()
        name = Path(self._file).stem if self._file else self._name
        dataset = problem.dataset(name)
        code = file_sha256(Path(self._file)) if self._file else problem.code_sha256
        return replace(dataset, info=replace(dataset.info, file=self._file, file_sha256=code))

    def _found(self) -> Problem:
        if not self._file:
            raise UserError(
                f"'{self._name}' was made by a Python call: no file has it by name, so that no "
                "other process can make it again.",
                where="problem",
                hint=f"a module that has it at its top level: problem=FILE.py:{self._name}",
            )
        path = Path(self._file)
        try:
            module = module_from_file(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read: {error.strerror or error}.",
                where="problem",
                hint="problem=FILE.py:NAME",
            ) from None
        except UserError as error:  # of `Problem(...)` itself
            place = place_in_own_code(error, even_if_gradcli_raised=True)
            raise UserError(
                error.problem,
                where=" / ".join(filter(None, (place, error.where))),
                choices=error.choices,
                hint=error.hint,
            ) from error
        except Exception as error:
            raise UserError(
                f"{path} cannot be run: {exception_in_words(error)}",
                where=place_in_own_code(error) or str(path),
            ) from error
        found = vars(module).get(self._name)
        problems = [name for name, value in vars(module).items() if isinstance(value, Problem)]
        if found is None and not problems:
            raise UserError(
                f"{path} has no problem.",
                where=f"problem={path}:{self._name}",
                hint=f"{self._name} = gradcli.Problem(model=..., train=...), at the top level",
            )
        if not isinstance(found, Problem):
            is_what = "is not there" if found is None else f"is a {type(found).__name__}"
            raise UserError(
                f"'{self._name}' {is_what} in {path}; a problem is a gradcli.Problem.",
                where=f"problem={path}:{self._name}",
                choices=nearest(self._name, problems) or problems,
            )
        return found


@contextmanager
def given(problem: Problem) -> Iterator[tuple[str, str]]:
    """Hand a problem over to the commands of this process; yield its file and its name."""
    key = problem.place or ("", problem.name or "problem")
    before = _given.get(key)
    _given[key] = problem
    try:
        yield key
    finally:
        if before is None:
            del _given[key]
        else:
            _given[key] = before
