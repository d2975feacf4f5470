"""Comparisons: which optimizer is better, and whether there are enough seeds to say so.

    results      what a comparison says, as plain values: what closing screens are drawn from
    live         what it says at one moment: what the live screen is drawn from
    verdicts     the part of it that statistics computes from scores
    protocol     which trials are needed next, from the outcomes so far
    search       the settings that the trials of a search try
    plan         what is compared and how, as stored in `comparison.json`
    engine       what runs the trials: the protocol that every engine follows
    trials       from a run directory to a trial's outcome and result
    columns      the numbers reported for trials and arms: how each is computed and shown
    trial_store  everything on disk about a comparison, and its summary
    progress     how far a comparison is
    summary      from results to rankings, grids and costs
    target       the score that a comparison times, and where it comes from
    commands     the commands to type next
    statistics   from scores over seeds to intervals, verdicts and their power
    groups       from verdicts to groups of arms that cannot be told apart
    warnings     what limits the results, as sentences

Import from the modules: a process that only reads results must not wait for SciPy.
"""
