"""Sets of any runs, compared over their seeds.

members        the runs of a set, and what each scored
set_words      which runs a word names
set_results    what a comparison of sets says, as plain values
incomparable   refuses what cannot be compared
set_against    compares the rest
set_settings   in which settings sets differ
set_cautions   why to read the verdicts with caution
larger_sets    what to type next
"""

from gradcli.comparison.run_sets.members import BY, FoundSet, Score
from gradcli.comparison.run_sets.set_against import compare_run_sets
from gradcli.comparison.run_sets.set_results import Member, RunSet, RunSetComparison
from gradcli.comparison.run_sets.set_words import find_set

__all__ = [
    "BY",
    "FoundSet",
    "Member",
    "RunSet",
    "RunSetComparison",
    "Score",
    "compare_run_sets",
    "find_set",
]
