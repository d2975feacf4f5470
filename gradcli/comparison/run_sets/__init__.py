"""Sets of any runs, compared over their seeds.

members      the runs that a word names, and what each scored
set_results  what a comparison of sets says, as plain values
set_against  refuses what cannot be compared, and compares the rest
"""

from gradcli.comparison.run_sets.members import BY, FoundSet, Score, find_set
from gradcli.comparison.run_sets.set_against import compare_run_sets
from gradcli.comparison.run_sets.set_results import Member, RunSet, RunSetComparison

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
