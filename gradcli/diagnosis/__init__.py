"""From numbers to findings: what the gradients say is wrong, and what to try. Needs no torch.

    limits      every constant, with its reason and its source
    evidence    what the rules look at, gathered from records and probes
    loss_trend  from the steps of a run: convergence, spikes, jumps of the learning rate
    broken      rules on what is plainly broken: NaN, infinities, wrong derivatives
    flow        rules on gradients: do they arrive everywhere, and how large are they?
    step_size   rules on steps: are they too long, too short, too noisy?
    remedies    overrides to try
    rules       the table of rules, and how it is applied
    calibration how often each finding was right in the benchmark, and so how sure it is

A rule is a function from `Evidence` to findings, its constants in `limits`, and an entry in
`rules.RULES`.
"""

from gradcli.diagnosis.collecting import collect_evidence
from gradcli.diagnosis.evidence import Evidence, Probed, ThroughTime
from gradcli.diagnosis.rules import Diagnosis, diagnose, examine

__all__ = [
    "Diagnosis",
    "Evidence",
    "Probed",
    "ThroughTime",
    "collect_evidence",
    "diagnose",
    "examine",
]
