"""Every kind of fault reads as a sentence, on every screen."""

from __future__ import annotations

import itertools
import math

import pytest

from gradcli.notation.faults import fault_mend, fault_sentences
from gradcli.records import FaultRecord
from gradcli.views.heading import describe_fault

PHASES = ("inputs", "parameters", "forward", "loss", "backward", "update")


def kinds():
    """Every combination that there can be."""
    for phase, layer, tensor, after, unsure, operation in itertools.product(
        PHASES, (None, "enc.0", "(model)"), ("", "x"), ("", "a"), ("", "why"), ("", "log")
    ):
        named = tensor or phase not in ("inputs", "parameters", "update")
        if named and (layer or phase not in ("parameters", "update")):
            yield phase, layer, tensor, after, unsure, operation


@pytest.mark.parametrize(("phase", "layer", "tensor", "after", "unsure", "operation"), [*kinds()])
def test_no_sentence_names_what_is_not_there(phase, layer, tensor, after, unsure, operation):
    fault = FaultRecord(
        4,
        1,
        phase,
        layer,
        math.nan,
        (),
        tensor=tensor,
        after=after,
        before="b" if after else "",
        unsure=unsure,
        operation=operation,
    )
    for text in (fault_sentences(fault), describe_fault(fault)):
        assert "None" not in text
        assert "``" not in text
        assert "  " not in text
        assert " ." not in text
        assert "4" in text
    assert ("not certain" in fault_sentences(fault)) == bool(unsure)


def test_the_pass_is_named_if_there_were_several():
    fault = FaultRecord(4, 1, "forward", "log", 0.0, (), forward_pass=2, forward_passes=4)
    assert "At step 4, in forward pass 2 of 4 (micro-batch 2" in fault_sentences(fault)
    fault = FaultRecord(4, 1, "forward", "log", 0.0, (), forward_pass=1, forward_passes=1)
    assert "pass 1" not in fault_sentences(fault)


def test_the_mend_follows_from_the_cause():
    fault = FaultRecord(4, 1, "forward", "log", 0.0, (), cause="the logarithm of 0")
    assert "clamp_min" in fault_mend(fault)
    fault = FaultRecord(4, 1, "forward", "log", 0.0, ())
    assert fault_mend(fault) == ""
