"""Views: records in, pixels or text out.

Each module is one picture: `live` and `plain` of a training that runs, `ending` of one that
has ended, `runs` of many, `plots` as images, `jsonout` for machines, `errors` of a mistake.
`console` alone decides where they go.
"""

from gradcli.views.console import show_message, show_result, train_view
from gradcli.views.ending import ending, next_commands
from gradcli.views.errors import error_panel
from gradcli.views.jsonout import dumps, finding_json, train_json
from gradcli.views.plots import plot_run
from gradcli.views.runs import RunRow, runs_table
from gradcli.views.train_view import TrainView

__all__ = [
    "RunRow",
    "TrainView",
    "dumps",
    "ending",
    "error_panel",
    "finding_json",
    "next_commands",
    "plot_run",
    "runs_table",
    "show_message",
    "show_result",
    "train_json",
    "train_view",
]
