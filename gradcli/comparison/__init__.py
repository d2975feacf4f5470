"""Comparisons: which optimizer is better, and whether the seeds suffice to say so.

    results     what a comparison says, as plain values: what screens are drawn from
    protocol    which trials are needed next, from the outcomes so far
    plan        what is compared and how, as `comparison.json` keeps it
    trials      from a run directory to a trial's outcome and result
    ledger      all that is known of a comparison on the disk, and its summary
    progress    how far a comparison is
    summary     from results to rankings, grids and costs
    statistics  from scores over seeds to intervals, verdicts and their power
    cautions    what a reader of these must be warned of, in words

Import from the modules: whoever only reads results must not wait for SciPy.
"""
