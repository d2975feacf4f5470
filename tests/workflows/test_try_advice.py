"""`gradcli inspect-gradients RUN --try`: the advice, tried on the run's own first steps."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
import torch

import gradcli
from gradcli.records import Finding
from gradcli.runs import load_run

SMALL = ("data=mnist5k", "model.hidden=[16]", "batch_size=64", "threads=1", "device=cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The runs directory of this module."""
    return tmp_path_factory.mktemp("tried") / "runs"


@pytest.fixture(scope="module")
def too_fast(home):
    """A run of 40 steps with a learning rate 500 times too high."""
    return gradcli.train(*SMALL, "optimizer.lr=1", "max_steps=40", runs_dir=home)


@pytest.fixture(scope="module")
def sound(home):
    """A run of 40 steps that learns."""
    return gradcli.train(*SMALL, "init=normal", "init.std=0.05", "max_steps=40", runs_dir=home)


@pytest.fixture
def advise(monkeypatch):
    """Let the diagnosis find nothing but one warning, with this override."""
    from gradcli.workflows import inspect

    def give(override: str, **evidence: float) -> None:
        finding = Finding("plateau", "warning", None, evidence, "a rule", "Planted.", override)
        honest = inspect.inspect_run
        monkeypatch.setattr(
            inspect,
            "inspect_run",
            lambda *given: replace(honest(*given), verdict="plateau", findings=(finding,)),
        )

    return give


def tried(run, **options):
    return gradcli.inspect(run.path, try_advice=True, **options).trial


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def train(home, *words):
    return gradcli.train(*SMALL, "data.drop_last=true", *words, runs_dir=home)


def final_score(run):
    (last,) = [one for one in run.evals if one.split == "val" and one.step == 40]
    return last.score, pytest.approx(last.loss, abs=1e-6)


def test_both_trainings_are_those_of_whole_runs(too_fast, home):
    trial = tried(too_fast, try_steps=40)
    assert trial.code == gradcli.inspect(too_fast.path).findings[0].code
    assert trial.override == "optimizer.lr=0.001"
    better = gradcli.train(*SMALL, trial.override, "max_steps=40", runs_dir=home / "better")
    for score, run in ((trial.without, too_fast), (trial.with_advice, better)):
        assert (score.score, score.loss) == final_score(run)
        assert (score.steps, score.total_steps) == (40, 40)
    assert trial.outcome == "helps"
    assert trial.difference == pytest.approx(
        trial.with_advice.score - trial.without.score, abs=1e-12
    )
    assert trial.difference > trial.margin > 0
    assert trial.command[-1] == "optimizer.lr=0.001"
    assert "optimizer.lr=1" not in trial.command


def test_a_short_trial_is_the_beginning_of_the_run_with_its_schedule(too_fast):
    from gradcli.config import load_config
    from gradcli.data import load_dataset
    from gradcli.training.evaluation import evaluate
    from gradcli.workflows.building import built_trainer

    with built_trainer(load_config(too_fast.config, where=""), load_dataset("mnist5k")) as trainer:
        list(trainer.run(until=7))  # of a cosine over 40 steps
        expected = evaluate(trainer.model, trainer.objective, trainer.splits["val"])
    trial = tried(too_fast, try_steps=7)
    assert (trial.without.score, trial.without.loss) == (expected.score, expected.loss)


def test_nothing_is_written_and_no_state_is_left(too_fast, home):
    before = contents(home)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    tried(too_fast, try_steps=5)
    assert contents(home) == before
    assert torch.rand(1) == expected
    assert torch.get_num_threads() == threads


def test_advice_that_is_worse_is_not_offered(gradcli, sound, advise):
    advise("optimizer.lr=3")
    answer = gradcli("inspect-gradients", str(sound.path), "--try")
    assert answer.code == 0
    assert "The advice is worse; do not take it." in " ".join(answer.out.split())
    follow_up = answer.out.partition("\nnext ")[2]
    assert "optimizer.lr=3" not in follow_up
    assert "gradcli train" not in follow_up


def test_advice_that_changes_nothing_makes_no_difference(sound, advise, gradcli):
    advise("monitor.every=7")
    answer = gradcli("inspect-gradients", str(sound.path), "--try", "--try-steps", "20")
    assert "no difference that can be told" in " ".join(answer.out.split())
    assert f"{sound.path} --try --try-steps 40\n" in answer.out
    assert "gradcli train" not in answer.out.partition("\nnext ")[2]
    trial = tried(sound, try_steps=20)
    assert trial.outcome == "no-difference"
    assert trial.difference == 0
    assert trial.without == trial.with_advice


def test_an_option_chosen_anew_takes_no_key_of_the_one_before(sound, advise):
    advise("init=kaiming")
    trial = tried(sound, try_steps=5)
    assert trial.reason == ""
    assert "init.std=0.05" not in trial.command
    assert trial.command[-1] == "init=kaiming"


def test_advice_about_the_batches_gets_the_same_share_of_the_training(home, advise, gradcli):
    run = train(home, "epochs=1")
    advise("batch_size=256")
    trial = tried(run, try_steps=20)
    assert (trial.without.steps, trial.without.total_steps) == (20, 62)
    assert (trial.with_advice.steps, trial.with_advice.total_steps) == (5, 15)
    answer = gradcli("inspect-gradients", str(run.path), "--try", "--try-steps", "20")
    assert "Tried for the first 32% of the training, same seed:" in " ".join(answer.out.split())


@pytest.mark.parametrize("key", ["step", "at_step", "since_step"])
def test_the_trial_goes_beyond_the_step_at_which_it_happened(sound, advise, monkeypatch, key):
    monkeypatch.setattr("gradcli.inspection.advice_trial._FEWEST_STEPS", 3)
    advise("monitor.every=7")
    assert tried(sound).without.steps == 10
    advise("monitor.every=7", **{key: 12})
    assert tried(sound).without.steps == 24


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("init.gain=2", "init=normal takes no 'gain'"),
        ("optimizer.lr=fast", "optimizer.lr"),
        ("activation=reul", "has no option 'reul'"),
        ("data.val=100", "it changes the examples"),
    ],
)
def test_refused_advice_is_said_to_be_refused(sound, advise, gradcli, override, reason):
    advise(override)
    answer = gradcli("inspect-gradients", str(sound.path), "--try")
    assert answer.code == 2
    said = " ".join(answer.out.split())
    assert f"`{override}` cannot be run: " in said
    assert reason in said
    assert "gradcli train" not in answer.out.partition("\nnext ")[2]
    told = json.loads(gradcli("inspect-gradients", str(sound.path), "--try", "--json").out)
    assert told["trial"]["outcome"] == "refused"
    assert reason in told["trial"]["reason"]
    assert told["trial"]["without"] is told["trial"]["with"] is None


def test_advice_that_does_not_fit_the_data_is_refused_before_anything_is_trained(home, advise):
    run = gradcli.train(*SMALL, "batch_size=43", "epochs=1", runs_dir=home)
    advise("model.norm=batch")  # and the last batch of an epoch has one image
    trial = tried(run)
    assert trial.outcome == "refused"
    assert "batch" in trial.reason
    assert trial.without is None


def test_an_exception_in_code_of_ones_own_is_a_refusal_with_its_place(home, advise, monkeypatch):
    run = train(home, "max_steps=20")
    advise("monitor.every=7")
    from gradcli.workflows import try_advice

    calls = []

    def break_the_second(model, objective, split):
        calls.append(split)
        if len(calls) == 2:
            raise ValueError("my activation is broken")
        return evaluate(model, objective, split)

    evaluate = try_advice.evaluate
    monkeypatch.setattr(try_advice, "evaluate", break_the_second)
    trial = tried(run)
    assert trial.outcome == "refused"
    reason, _, place = trial.reason.partition(" (")
    assert reason == "Training failed after step 20: ValueError: my activation is broken"
    assert "test_try_advice.py:" in place


def test_a_divergence_is_worse_than_none(home):
    run = gradcli.train(
        *SMALL, "optimizer=sgd", "optimizer.lr=1e12", "clip=none", "max_steps=40", runs_dir=home
    )
    assert run.status == "diverged"
    trial = tried(run)
    assert trial.without.diverged_at == run.fault.step
    assert trial.outcome == ("helps" if trial.with_advice.diverged_at is None else "no-difference")


def test_a_healthy_run_has_nothing_to_try(home, gradcli):
    run = train(home, "max_steps=40")
    before = contents(run.path)
    answer = gradcli("inspect-gradients", str(run.path), "--try")
    assert answer.code == 0
    assert "trial       Nothing to try: no finding asks for a change.\n" in answer.out
    assert contents(run.path) == before
    assert tried(run).outcome == "nothing-to-try"


def test_of_an_own_loop_the_change_of_code_is_said(tmp_path, gradcli):
    from gradcli import GradientMonitor

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, labels = torch.randn(64, 8), torch.randint(4, (64,))
    with GradientMonitor(model, optimizer, runs_dir=tmp_path) as monitor:
        for _ in range(30):  # without zero_grad
            loss = torch.nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            monitor.step(loss)
            optimizer.step()
    (path,) = tmp_path.iterdir()
    answer = gradcli("inspect-gradients", str(path), "--try")
    assert answer.code == 0
    said = " ".join(answer.out.split())
    assert "Nothing to try: the run was trained in a loop of your own, which gradcli" in said
    assert "What to change: " in said.partition("Nothing to try")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data=mnist5k", "--try"), "A fresh model has no run"),
        (("RUN", "--try-steps", "5"), "--try --try-steps 5"),
        (("RUN", "--try", "--try-steps", "41"), "has 40 steps, so a trial cannot have 41"),
        (("RUN", "--try", "--try-steps", "0"), "than or equal to 1"),
    ],
)
def test_a_mistake_gets_a_clear_error(gradcli, too_fast, words, said):
    words = [str(too_fast.path) if word == "RUN" else word for word in words]
    answer = gradcli("inspect-gradients", *words)
    assert answer.code == 2
    assert said in answer.message.replace("│ ", "")
    assert answer.out == ""


def test_without_validation_examples_the_test_set_is_no_substitute(home, gradcli):
    run = train(home, "data.val=0", "optimizer.lr=1", "max_steps=40")
    answer = gradcli("inspect-gradients", str(run.path), "--try")
    assert answer.code == 2
    assert "no validation examples" in answer.message


def test_the_test_set_is_never_read(too_fast, monkeypatch):
    from gradcli.workflows import try_advice

    judged_by = []
    evaluate = try_advice.evaluate
    monkeypatch.setattr(
        try_advice,
        "evaluate",
        lambda model, objective, split: (
            judged_by.append(split) or evaluate(model, objective, split)
        ),
    )
    read = []
    monkeypatch.setattr(
        "gradcli.training.trainer.Trainer._evaluate", lambda self, split: read.append(split)
    )
    tried(too_fast, try_steps=40)
    assert len(judged_by) == 2
    assert read == []


def test_an_interruption_leaves_everything_as_it_was(gradcli, too_fast, home, monkeypatch):
    from gradcli.views.inspect.trial_progress import TrialProgress

    before = contents(home)
    monkeypatch.setattr(
        TrialProgress, "step", lambda self, step, loss: signal.raise_signal(signal.SIGINT)
    )
    answer = gradcli("inspect-gradients", str(too_fast.path), "--try")
    assert answer.code == 130
    assert answer.out == ""
    assert answer.err == "The trial was interrupted. Nothing was written.\n"
    assert contents(home) == before


def test_in_a_pipe_each_training_is_a_line(gradcli, too_fast):
    answer = gradcli("inspect-gradients", str(too_fast.path), "--try", "--try-steps", "5")
    first, second = answer.err.splitlines()
    assert first.startswith("training 1 of 2, as it was: 5 steps, validation score 0.")
    assert second.startswith("training 2 of 2, with the advice: 5 steps, validation score 0.")
    quiet = gradcli("inspect-gradients", str(too_fast.path), "--try", "--quiet", "--json")
    assert quiet.err == ""


def test_an_inspection_with_advice_says_how_to_try_it(gradcli, too_fast):
    answer = gradcli("inspect-gradients", str(too_fast.path))
    assert f"next        gradcli inspect-gradients {too_fast.path} --try\n" in answer.out


def test_a_trial_of_a_comparison_can_be_tried_but_not_the_whole(
    gradcli, tmp_path, trials_in_this_process, advise
):
    answer = gradcli("compare-optimizers", *SMALL, "--optimizers", "adam,sgd", "--lrs", "1",
                     "--seeds", "2", "max_steps=30", "--runs-dir", str(tmp_path))  # fmt: skip
    assert answer.code == 0, answer.err
    (comparison,) = tmp_path.iterdir()
    whole = gradcli("inspect-gradients", str(comparison), "--try")
    assert whole.code == 2
    assert "on one run" in whole.message
    path = next((comparison / "trials").iterdir())
    advise("optimizer.lr=0.001")
    trial = tried(load_run(path))
    assert trial.outcome in ("helps", "worse", "no-difference")
    assert trial.command == ()  # its overrides are not recorded


def test_whole_epochs_with_dropout_are_repeated_to_the_bit(home, advise):
    run = train(home, "model.norm=batch", "model.dropout=0.5", "epochs=2")
    advise("model.dropout=0.1")
    recorded = [one for one in run.evals if one.split == "val"][-1]
    trial = tried(run, try_steps=run.info.total_steps)
    assert (trial.without.score, trial.without.loss) == (recorded.score, recorded.loss)
    assert trial.with_advice.loss != recorded.loss
