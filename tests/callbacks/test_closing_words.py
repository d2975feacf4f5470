import torch
from torch import nn

from gradcli import GradientMonitor
from gradcli.callbacks.closing_words import closing_words


def train(model, runs_dir, steps, start_step=0):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.randn(64, 20, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    with GradientMonitor(model, optimizer, runs_dir=runs_dir, start_step=start_step) as monitor:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            monitor.step(loss)
            optimizer.step()
    return monitor


def test_a_sound_run(runs_dir):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))
    monitor = train(model, runs_dir, 100, start_step=1000)
    assert closing_words(monitor.summary).splitlines() == [
        "gradcli: 100 updates, healthy",
        f"gradcli inspect-gradients {monitor.run}",
    ]


def test_findings_have_their_severity_and_place(runs_dir):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.Tanh(), nn.Linear(32, 2))
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[0].weight)
    monitor = train(model, runs_dir, 30)
    words = closing_words(monitor.summary)
    for finding in monitor.summary.findings:
        assert finding.code in words
        assert finding.layer is None or f"{finding.code} in {finding.layer}" in words
        assert (f"{finding.severity}: {finding.code}" in words) == (finding.severity != "info")
    assert any(finding.severity != "info" for finding in monitor.summary.findings)
