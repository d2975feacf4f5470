"""What the lines of `evals.jsonl` and `probes.jsonl` hold: records, and lines of JSON for them.

A line of `probes.jsonl` begins with its kind. Readers pass over kinds that they do not know, so
that what is recorded may grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

from gradcli.records import (
    EvalRecord,
    FingerprintRecord,
    LayerRecord,
    ProbeRecord,
    SetupRecord,
    ValidationRecord,
)
from gradcli.runs.files import restored
from gradcli.runs.logs.log_blocks import EVALS_FILE, PROBES_FILE
from gradcli.runs.stored import MalformedError, decoded

#: The records that are lines.
LineRecord = (
    EvalRecord | LayerRecord | SetupRecord | FingerprintRecord | ProbeRecord | ValidationRecord
)


def lines_of(record: LineRecord) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the lines of a record, each with the name of the log that it is for."""
    match record:
        case EvalRecord():
            described = asdict(record)
            at = {"step": record.step, "split": record.split}
            # In the file whose readers pass over kinds of lines that they do not know.
            if bits := described.pop("example_scores"):
                yield PROBES_FILE, {"kind": "correct", **at, "bits": bits}
            if scores := described.pop("further_scores"):
                yield PROBES_FILE, {"kind": "scores", **at, "scores": scores}
            yield EVALS_FILE, described
        case LayerRecord():
            yield PROBES_FILE, {"kind": "layers", **asdict(layers_as_logged(record))}
        case SetupRecord():
            yield PROBES_FILE, {"kind": "setup", **_without_defaults(record)}
        case FingerprintRecord():
            yield PROBES_FILE, {"kind": "fingerprints", **asdict(record)}
        case ProbeRecord():
            yield PROBES_FILE, {"kind": "probe", **asdict(record)}
        case ValidationRecord():
            yield PROBES_FILE, {"kind": "validation", **asdict(record)}


def eval_record(line: Any) -> EvalRecord:
    """Return an evaluation; schema 1 knew no metric but the accuracy."""
    described = decoded(dict[str, Any], line)
    if "accuracy" in described:
        described["score"] = described.pop("accuracy")
    record: EvalRecord = decoded(EvalRecord, described)
    return record


def scores_of_examples(line: Any) -> tuple[tuple[int, str], str]:
    """Return the scores of the examples, by the step and the split."""
    return _place(line), decoded(str, line.get("bits"), "bits")


def further_scores(line: Any) -> tuple[tuple[int, str], dict[str, float]]:
    """Return the scores by the further metrics, by the step and the split."""
    return _place(line), decoded(dict[str, float], line.get("scores"), "scores")


def layer_record(line: Any, layers: int) -> LayerRecord:
    """Return the measurements of each of so many layers."""
    record: LayerRecord = decoded(LayerRecord, _without_kind(line))
    columns = (record.weight_norm, record.update_ratio, record.input_grad_norm)
    if any(len(column) != layers for column in columns):
        raise MalformedError(f"has a record of layers that are not the {layers} of the run")
    return record


def fingerprint_record(line: Any, layers: int, parameters: int) -> FingerprintRecord:
    """Return what an observed step of so many layers and parameters was computed of."""
    record: FingerprintRecord = decoded(FingerprintRecord, _without_kind(line))
    of_layers = record.layer_inputs, record.layer_outputs, record.output_types
    lengths = {len(record.output_samples), *map(len, of_layers)}
    if lengths != {layers} or len(record.weights) != parameters:
        raise MalformedError("has fingerprints of layers that are not those of the run")
    if not set(record.order) <= set(range(layers)):
        raise MalformedError("has an order of layers that the model does not have")
    return record


def probe_record(line: Any) -> ProbeRecord:
    """Return the result of a probe."""
    record: ProbeRecord = decoded(ProbeRecord, _without_kind(line))
    return replace(record, result=restored(record.result))


def validation_record(line: Any) -> ValidationRecord:
    """Return the score of a validation within an epoch."""
    record: ValidationRecord = decoded(ValidationRecord, _without_kind(line))
    return record


def setup_record(line: Any, layers: int) -> SetupRecord:
    """Return how the training of a model of so many layers was set up."""
    record: SetupRecord = decoded(SetupRecord, _without_kind(line))
    of_parameters = [*record.without_gradient]
    of_parameters += [at for group in record.groups for at in group.parameters]
    of_layers = [*record.call_order, *record.identical_units]
    of_layers += [*record.kept_elsewhere, *record.replaced]
    of_layers += [at for _, at in record.own_functions] + [at for at, _, _ in record.cut_off]
    if not set(of_parameters) <= set(range(len(record.requires_grad))):
        raise MalformedError("has a record of parameters that the model does not have")
    if not set(of_layers) <= set(range(-1, layers)):
        raise MalformedError("has a record of layers that the model does not have")
    return record


def _place(line: Any) -> tuple[int, str]:
    """Return the step and the split of an evaluation."""
    kept = decoded(dict[str, Any], line)
    return decoded(int, kept.get("step"), "step"), decoded(str, kept.get("split"), "split")


def layers_as_logged(record: LayerRecord) -> LayerRecord:
    """Return the record with nine digits per number: all that a float32 has."""
    columns: dict[str, Any] = {
        name: tuple(float(f"{value:.9g}") for value in values)
        for name, values in asdict(record).items()
        if isinstance(values, tuple)
    }
    return replace(record, **columns)


def _without_defaults(record: SetupRecord) -> dict[str, Any]:
    """Return the record without what it would have anyway: much of a set-up is not there."""
    usual = {one.name: one.default for one in fields(record)}
    return {name: value for name, value in asdict(record).items() if value != usual[name]}


def _without_kind(line: Any) -> dict[str, Any]:
    return {key: value for key, value in decoded(dict[str, Any], line).items() if key != "kind"}
