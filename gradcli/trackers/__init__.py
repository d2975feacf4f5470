"""Programs that show runs: what they are told of a run, and how each one keeps it.

`tracker` states the contract, `tracking` tells a tracker of a run, while it trains or afterwards,
and each of the other modules writes in one program's form. A new one is a class that derives from
`Tracker`, and a file `configs/tracker/NAME.yaml`.
"""

from gradcli.trackers.tracker import TrackedRun, Tracker
from gradcli.trackers.tracking import TrackingRecorder

__all__ = ["TrackedRun", "Tracker", "TrackingRecorder"]
