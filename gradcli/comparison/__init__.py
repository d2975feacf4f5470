"""Comparisons: which optimizer is better, and whether there are enough seeds to say so.

    results      what a comparison says, as plain values: what screens are drawn from
    verdicts     the part of it that statistics computes from scores
    protocol     which trials are needed next, from the outcomes so far
    search       which settings of several keys a search tries
    plan         what is compared and how, as stored in `comparison.json`
    engine       what runs the trials: the protocol that every engine follows
    trials       from a run directory to a trial's outcome and result
    columns      the numbers reported for trials and arms: how each is computed and shown
    trial_store  everything on disk about a comparison, and its summary
    progress     how far a comparison is
    summary      from results to rankings, grids and costs
    statistics   from scores over seeds to intervals, verdicts and their power
    groups       from verdicts to groups of arms that cannot be told apart
    warnings     what limits the results, as sentences

Import from the modules: a process that only reads results must not wait for SciPy.
"""
