"""What a shell is told: proposals for the word at the cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Proposal:
    """A word that may stand at the cursor.

    `word` is the whole word as the program gets it, without the quotes that a shell needs. If it
    `goes_on`, something must follow it, as the value in `optimizer.lr=`.
    """

    word: str
    help: str = ""
    goes_on: bool = False


@dataclass(frozen=True)
class Answer:
    """All proposals, in their order, and what the shell itself may propose of the disk's."""

    proposals: tuple[Proposal, ...] = ()
    paths: Literal["none", "files", "folders"] = "none"

    def behind(self, head: str) -> Answer:
        """Return the same for a word that begins with `head`, which the proposals lack."""
        found = (Proposal(head + one.word, one.help, one.goes_on) for one in self.proposals)
        return Answer(tuple(found), self.paths)


NOTHING: Final = Answer()
FILES: Final = Answer(paths="files")
FOLDERS: Final = Answer(paths="folders")


def fitting(typed: str, offered: Iterable[Proposal]) -> Answer:
    """Return those proposals that begin with what is typed and can be shown as they are."""
    return Answer(
        tuple(one for one in offered if one.word.startswith(typed) and one.word.isprintable())
    )


def words(typed: str, offered: Mapping[str, str] | Iterable[str]) -> Answer:
    """Return those of some words, perhaps with what each means, that begin with what is typed."""
    meaning = offered if isinstance(offered, Mapping) else dict.fromkeys(offered, "")
    return fitting(typed, (Proposal(word, said) for word, said in meaning.items()))


def listed(typed: str, offered: Mapping[str, str], closing: str = "") -> Answer:
    """Return what may continue a list `a,b`; no item is proposed twice.

    Where one item alone fits, or is typed in full, a list with a comma is proposed, too: shells
    then fill in the item and leave open which of the two is meant.

    Args:
        typed: what is typed of the list, without an opening bracket.
        offered: the items, with what each means.
        closing: what ends a list.
    """
    head, comma, part = typed.rpartition(",")
    head += comma
    left = {item: said for item, said in offered.items() if item not in head.split(",")}
    found = [item for item in left if item.startswith(part)]
    proposals = [Proposal(head + item + closing, left[item]) for item in found]
    complete = part if part in found else found[0] if len(found) == 1 else None
    if complete is not None and len(left) > 1:
        proposals.append(Proposal(f"{head}{complete},", "and others", goes_on=True))
    return fitting(typed, proposals)
