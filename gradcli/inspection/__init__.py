"""Inspection: what the gradients of a run or of a model do, put together for a reader.

    results   all that is shown, as plain values
    history   a run's norms over time: bins, trends, events, convergence
    of_run    from a run's records to an inspection; needs no torch
    of_model  from a model and a few batches: every layer's signals
    probing   the costly probes by name, timed, with what refuses them

What was found is judged in `gradients.diagnosis`, and drawn in `views`. Import from the modules:
whoever inspects records must not wait for torch.
"""
