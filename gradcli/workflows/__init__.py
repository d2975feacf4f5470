"""Each command from its config to its verdict: training, comparing, inspecting.

    train      a training run
    compare    a comparison of optimizers
    inspect    a run, a comparison or a fresh model

and what they share: `building` (config to trainer), `planning` (what a comparison will run),
`study` (a comparison at work), `restoring` (models rebuilt to be probed), `probe_target` and
`run_probes`. A workflow joins the rooms and decides their order; it neither measures nor draws.
"""
