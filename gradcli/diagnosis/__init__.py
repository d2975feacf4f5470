"""From numbers to findings: what the gradients say is wrong, and what to try. Needs no torch.

    collecting    from a run's records to evidence
    evidence      what the rules look at, gathered from records and probes
    which_loss    which loss is minimised: what guessing costs, whether it should fall
    loss_course   how far the loss has come
    loss_trend    from the steps of a run: convergence, spikes, jumps of the learning rate
    update_sizes  how large updates are, and what they would settle at
    limits        every constant, with its reason and its source
    rules         one function for each kind of fault, and the table of them
    remedies      overrides to try
    diagnosing    applies the rules, and puts causes before what follows from them
    conclusions   what is said if no rule finds anything: healthy, or not known
    calibration   how often each finding was right in the benchmark, and so how sure it is

A rule is a function from `Evidence` to findings, its constants in `limits`, and an entry in
`rules.RULES`.
"""

from gradcli.diagnosis.collecting import collect_evidence
from gradcli.diagnosis.diagnosing import Diagnosis, diagnose, examine
from gradcli.diagnosis.evidence import Evidence, Probed, ThroughTime

__all__ = [
    "Diagnosis",
    "Evidence",
    "Probed",
    "ThroughTime",
    "collect_evidence",
    "diagnose",
    "examine",
]
