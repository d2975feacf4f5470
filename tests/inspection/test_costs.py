"""What a probe is said to cost is its own work: not that of loading what it needs."""

from __future__ import annotations

PROGRAM = """
import sys
import gradcli
from gradcli.inspection import probing

loaded_while_timing = set()

class Watch(probing._Stopwatch):
    def __init__(self, device):
        self.before = set(sys.modules)
        super().__init__(device)

    def read(self):
        loaded_while_timing.update(set(sys.modules) - self.before)
        return super().read()

probing._Stopwatch = Watch
found = gradcli.inspect("data=mnist5k", "model.hidden=[8]", "examples=64", "threads=1",
                        probe=["signals", "histograms", "noise", "sharpness", "descent"])
assert {"noise", "sharpness"} <= set(found.probes.costs)
assert "scipy.sparse.linalg" in sys.modules
print(sorted(loaded_while_timing))
"""


def test_nothing_is_loaded_while_the_time_is_taken(spawn):
    answer = spawn("-c", PROGRAM)
    assert answer.code == 0, answer.err
    assert answer.out.strip() == "[]"
