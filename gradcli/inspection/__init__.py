"""Inspection: what the gradients of a run or of a model do, put together for a reader.

    results   all that is shown, as plain values
    history   a run's norms over time, in a bounded number of bins
    probing   the costly probes by name: made, timed, or refused in words; needs torch
    recording the same of a model that trains, as records of its run; needs torch
    measures  what the probes say, on its way into evidence and inspection
    assemble  from records and measures to an inspection

What was found is judged in `diagnosis`, and drawn in `views`. Import from the modules:
whoever inspects records must not wait for torch.
"""
