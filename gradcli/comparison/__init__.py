"""Comparisons: which optimizer is better, and whether the seeds suffice to say so.

    statistics  from scores over seeds to rankings, intervals, verdicts and their power
    cautions    what a reader of these must be warned of, in words

Import from the modules: whoever only reads results must not wait for SciPy.
"""
