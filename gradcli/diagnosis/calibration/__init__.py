"""How often each finding is right, and what each limit decides, as measured on trainings.

`measured.json` is written by `python benchmarks/diagnosis.py --part tuning --calibrate`, and
`limits.json` by `python benchmarks/diagnosis.py --keep FOLDER --limits`.
"""

from gradcli.diagnosis.calibration.certainty import (
    Tally,
    certainty_of,
    measured_cases,
    measured_findings,
    probability,
    with_certainty,
)
from gradcli.diagnosis.calibration.error_rates import (
    Errors,
    LimitErrors,
    counted_trainings,
    limit_errors,
)

__all__ = [
    "Errors",
    "LimitErrors",
    "Tally",
    "certainty_of",
    "counted_trainings",
    "limit_errors",
    "measured_cases",
    "measured_findings",
    "probability",
    "with_certainty",
]
