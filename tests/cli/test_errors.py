"""Mistakes on the command line: exit code 2, the right message on stderr, nothing on stdout."""

import json

import pytest


def assert_refused(answer, *words):
    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert "\x1b" not in answer.err
    for word in words:
        assert word in answer.message


def test_a_misspelt_option_ends_the_process_with_an_answer(spawn):
    answer = spawn("-m", "gradcli", "train", "optimizer=adm", FORCE_COLOR="1")
    assert_refused(answer)
    assert answer.err.splitlines() == [
        "error: optimizer has no option 'adm'.",
        "  where: configs/optimizer/",
        "  nearest: adam, radam, nadam",
        "  try: optimizer=adam",
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train", "--optimizer", "adm"], ["nearest: adam", "try: optimizer=adam"]),
        (["train", "--lr", "fast"], ["optimizer.lr is 'fast'", "configs/optimizer/adam.yaml"]),
        (["train", "--lr", "inf"], ["optimizer.lr is inf", "finite", "try: optimizer.lr=0.001"]),
        (["train", "--lr", "nan"], ["optimizer.lr is nan", "try: optimizer.lr=0.001"]),
        (["train", "--lr", "-1"], ["optimizer.lr is -1", "0 or more", "optimizer.lr=0.001"]),
        (["train", "optimizer@x=sgd"], ["nothing reads it", "try: optimizer=sgd"]),
        (["compare-optimizers", "--optimizers", "sophia,sgd"], ["--config-dir DIR", "sophia.yaml"]),
        (["compare-optimizers", "--lrs", "0.1,inf"], ["finite numbers above 0", "--lrs auto"]),
        (["train", "--epochs", "0"], ["epochs is 0", "try: epochs=1"]),
        (["train", "--config-dir", "nowhere"], ["nowhere is not a folder", "--config-dir"]),
        (["train", "data=idx"], ["data.folder"]),
        (["train", "data=idx", "data.folder=nowhere"], ["nowhere"]),
        (["train", "data=mnist5k", "data.val=5000"], ["data.val"]),
        (["train", "--show-config", "epoch=3"], ["nearest: epochs"]),
        (["train", "--resume", "latest"], ["There are no runs"]),
        (["train", "--epoch", "3"], ["--epochs"]),
        (["trian"], ["train"]),
        (["runs", "show", "nope"], ["There are no runs", "try: gradcli train"]),
        (["runs", "export", "latest", "--format", "xls"], ["csv"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_mistake_is_answered(words, says, gradcli, runs_dir):
    assert_refused(gradcli(*words), *says)
    assert not runs_dir.exists()


def test_unavailable_data_is_an_error_if_it_was_requested(gradcli, runs_dir, tmp_path):
    answer = gradcli("train", "data=mnist", "--data-dir", str(tmp_path / "data"))
    assert_refused(answer, "mnist is not on the disk", "data=mnist5k")


def test_an_empty_list_of_runs_is_not_an_error(gradcli, runs_dir):
    assert gradcli("runs", "list").code == 0
    assert json.loads(gradcli("runs", "list", "--json").out) == {"schema": 2, "runs": []}
