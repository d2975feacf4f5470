"""How often each finding is right, as measured on the benchmark's trainings.

`measured.json` is written by `python benchmarks/diagnosis.py --part tuning --calibrate`.
"""

from gradcli.diagnosis.calibration.certainty import (
    Tally,
    certainty_of,
    measured_cases,
    measured_findings,
    probability,
    with_certainty,
)

__all__ = [
    "Tally",
    "certainty_of",
    "measured_cases",
    "measured_findings",
    "probability",
    "with_certainty",
]
