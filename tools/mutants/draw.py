"""Draw mutants: small changes to the code that a test should notice.

What can be changed, and into what, is up to the operators of cosmic-ray. A draw takes places, and
then one of the changes that are possible at each: `a + b` counts once, although `+` can become
eleven other operators.

Left out are changes that no test should notice, or that every test does: in annotations and
aliases of types, docstrings, decorators, `__slots__`, `if TYPE_CHECKING`, f-strings and what is
raised (the texts of messages); `is` for `==` and the like; an operator of bits for one of
arithmetic, and the reverse, because most such code raises; and code that does not compile.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cosmic_ray.ast
import cosmic_ray.plugins

Position = tuple[int, int]
"""Line and column, as in `ast`: lines count from 1, columns from 0."""

_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
_IDENTITY = {"Is", "IsNot"}
#: Operators that need arguments, or change what is left out.
_NOT_USED = {"VariableReplacer", "VariableInserter", "RemoveDecorator"}
#: Leaves of parso's trees that no operator changes.
_NEVER_CHANGED = {"name", "string", "newline", "endmarker", "fstring_string"}
_PUNCTUATION = set("()[]{},:.=")


def _is_used(operator: str) -> bool:
    """Say whether an operator of cosmic-ray stays within its family."""
    kind, *names = operator.split("/")[-1].split("_")
    family = {"ReplaceBinaryOperator": _ARITHMETIC, "ReplaceComparisonOperator": _IDENTITY}
    if kind in family:
        return len(family[kind].intersection(names)) in (0, 2)
    return kind not in _NOT_USED


_OPERATORS = {
    name: cosmic_ray.plugins.get_operator(name)()
    for name in sorted(cosmic_ray.plugins.operator_names())
    if _is_used(name)
}


@dataclass(frozen=True)
class Mutant:
    """One change to one file."""

    file: str
    """Relative to the root of the project."""
    line: int
    statement: tuple[int, int]
    """First and last line of the statement; of one with a body, its head."""
    before: str
    after: str
    source: str
    """The whole file with the change."""

    @property
    def name(self) -> str:
        """What the change is, without the line: it stays when lines are added above."""
        return f"{self.file}: {self.before} -> {self.after}"

    @property
    def digest(self) -> str:
        """Of the whole changed file: another if anything in the file changes."""
        return hashlib.sha256(f"{self.file}\n{self.source}".encode()).hexdigest()[:16]


def draw(root: Path, folders: list[str], count: int, seed: int) -> list[Mutant]:
    """Return up to `count` mutants of the files in some folders; a seed gives always the same.

    The order is random too, so that the first of them are a sample of their own. It depends on the
    text of each line, so that most of a sample stays when other lines change.
    """
    files = sorted(file for folder in folders for file in (root / folder).rglob("*.py"))
    places: list[tuple[str, Path, list[tuple[str, int, int, Position]]]] = []
    for file in files:
        lines, seen = file.read_text().splitlines(), Counter[str]()
        for (line, column), changes in sorted(_changes(file).items()):
            what = f"{seed} {file.relative_to(root).as_posix()} {column} {lines[line - 1]}"
            seen[what] += 1
            drawn_by = hashlib.sha256(f"{what} {seen[what]}".encode()).hexdigest()
            places.append((drawn_by, file, changes))
    drawn: list[Mutant] = []
    for drawn_by, file, changes in sorted(places, key=lambda place: place[0]):
        if len(drawn) == count:
            break
        random.Random(drawn_by).shuffle(changes)
        mutants = (_mutant(root, file, *change) for change in changes)
        drawn.extend([mutant for mutant in mutants if mutant is not None][:1])
    return drawn


def _changes(file: Path) -> dict[Position, list[tuple[str, int, int, Position]]]:
    """Return the changes that are possible at each place: operator, node, which one, and place."""
    source = file.read_text()
    skipped = list(_left_out(ast.parse(source)))
    changes = defaultdict(list)
    for number, node in enumerate(cosmic_ray.ast.ast_nodes(cosmic_ray.ast.get_ast(source))):
        if node.type in _NEVER_CHANGED or getattr(node, "value", None) in _PUNCTUATION:
            continue
        for name, operator in _OPERATORS.items():
            for index, (start, _) in enumerate(operator.mutation_positions(node)):
                if not any(first <= start < last for first, last in skipped):
                    changes[start].append((name, number, index, start))
    return changes


def _left_out(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Yield the spans of a module in which nothing is changed."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from map(_span, node.decorator_list)
                if not isinstance(node, ast.ClassDef) and node.returns:
                    yield _span(node.returns)
            case (
                ast.arg(annotation=ast.expr() as annotation) | ast.AnnAssign(annotation=annotation)
            ):
                yield _span(annotation)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield _span(node)
            case ast.Assign(targets=[ast.Name(id="__slots__")]) | ast.Raise() | ast.JoinedStr():
                yield _span(node)
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            for node in ast.walk(statement):
                if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                    yield _span(node)


def _span(node: ast.expr | ast.stmt) -> tuple[Position, Position]:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _mutant(
    root: Path, file: Path, operator: str, number: int, index: int, place: Position
) -> Mutant | None:
    """Apply a change; `None` if the code would not compile, or mean the same."""
    source = file.read_text()
    tree = cosmic_ray.ast.get_ast(source)
    node = list(cosmic_ray.ast.ast_nodes(tree))[number]
    parent = node.parent
    changed = _OPERATORS[operator].mutate(node, index)
    if changed is not node:
        parent.children[[child is node for child in parent.children].index(True)] = changed
    mutated = tree.get_code()
    try:
        same = ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(source))
        compile(mutated, str(file), "exec", dont_inherit=True)
    except SyntaxError:
        return None
    if same:
        return None
    statement = statement_at(ast.parse(source), place[0])
    name = file.relative_to(root).as_posix()
    return Mutant(name, place[0], statement, *_changed_lines(source, mutated), mutated)


def _changed_lines(source: str, mutated: str) -> tuple[str, str]:
    """Return the lines that differ, before and after, each as one line of text."""
    lines = list(difflib.ndiff(source.splitlines(), mutated.splitlines()))
    return (
        " ".join(line[2:].strip() for line in lines if line.startswith("- ")),
        " ".join(line[2:].strip() for line in lines if line.startswith("+ ")),
    )


def statement_at(tree: ast.Module, line: int) -> tuple[int, int]:
    """Return the first and last line of the innermost statement there; of a compound, its head."""
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.excepthandler)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    first, last = max(spans, key=lambda span: (span[0], -span[1]))
    inner = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt | ast.excepthandler) and first < node.lineno <= last
    ]
    return first, max(first, min(inner, default=last + 1) - 1)
