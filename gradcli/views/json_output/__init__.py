"""What `--json` prints: one object whose keys are a contract, in a fixed order."""

from gradcli.views.json_output.comparison_objects import comparison_json
from gradcli.views.json_output.inspection_objects import inspection_json
from gradcli.views.json_output.json_values import SCHEMA, dumps, jsonable
from gradcli.views.json_output.rate_objects import found_rate_json
from gradcli.views.json_output.run_objects import (
    difference_json,
    finding_json,
    pruning_json,
    run_list_json,
    train_json,
)
from gradcli.views.json_output.set_objects import run_sets_json
from gradcli.views.json_output.step_objects import step_json

__all__ = [
    "SCHEMA",
    "comparison_json",
    "difference_json",
    "dumps",
    "finding_json",
    "found_rate_json",
    "inspection_json",
    "jsonable",
    "pruning_json",
    "run_list_json",
    "run_sets_json",
    "step_json",
    "train_json",
]
