"""Searches: which settings of several keys the trials of an arm try.

    ranges      the values of a key that may be tried, and how they are spread
    searcher    what a searcher is
    sobol       settings that cover the ranges evenly
    full_grid   every combination of some values of each key
    tpe         settings near those that did well

Searchers know neither arms nor trials: `protocol` asks them for settings and tells them how those
went. Importing this is light: SciPy and Optuna wait until a setting is asked for.
"""

from gradcli.comparison.search.full_grid import FullGrid
from gradcli.comparison.search.ranges import SCALES, Range, Scale
from gradcli.comparison.search.searcher import Searcher, Setting, Tried
from gradcli.comparison.search.sobol import Sobol
from gradcli.comparison.search.tpe import TPE

__all__ = [
    "SCALES",
    "TPE",
    "FullGrid",
    "Range",
    "Scale",
    "Searcher",
    "Setting",
    "Sobol",
    "Tried",
]
