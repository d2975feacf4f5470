"""Inspection: what the gradients of a run or of a model do, put together for a reader.

    inspection      everything that is shown, as plain values
    assemble        from records and measures to an inspection
    history         a run's norms over time, in a bounded number of bins
    measures        what the probes measured, on its way into evidence and inspection
    probing         runs costly probes by name, times them, or says why not; needs torch
    recording       runs probes while a model trains, and returns records; needs torch
    run_summary     the numbers of a run's closing screen
    run_difference  what differs between two runs, and from which step on
    parting         the layer in which they part first, and how fast they part

`diagnosis` judges what was found, and `views` draws it. Import from the modules: inspecting records
must not load torch.
"""
