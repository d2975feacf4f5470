"""Names and links that lead elsewhere: nothing outside the run's own directory is touched."""

import json
import shutil

import pytest

SMALL = ("data=mnist5k", "max_steps=2", "model.hidden=[8]", "--no-live", "-q")
VICTIM = b"nobody asked for this to change\n" * 400


@pytest.fixture
def victim(tmp_path):
    """A file of the user's."""
    path = tmp_path / "precious"
    path.write_bytes(VICTIM)
    return path


def contents(folder):
    """The files below a folder, with what is in them."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/evil", "a/b", "evil/", "..//", "a\0b", "n" * 201, "ü" * 101]
)
@pytest.mark.parametrize("command", ["train", "compare-optimizers"])
def test_a_name_that_is_no_folder_s_is_named_as_the_mistake(command, name, gradcli, runs_dir):
    answer = gradcli(command, "data=mnist5k", f'name="{name}"')
    assert answer.code == 2
    assert "--name" in answer.message and "--runs-dir" not in answer.message
    assert not runs_dir.exists()


@pytest.mark.parametrize("name", ["..", ".hidden", "-rf", "two words", "a\nb", "größe", "a;b$(c)"])
def test_any_other_name_stays_inside_the_runs_directory(name, gradcli, runs_dir):
    answer = gradcli("train", *SMALL, f'name="{name}"')
    assert answer.code == 0, answer.err
    (run,) = runs_dir.iterdir()
    assert json.loads((run / "run.json").read_text())["info"]["name"] == name


@pytest.mark.parametrize("target", ["..", "../..", "/", "runs/../..", ".", "~", "*"])
@pytest.mark.parametrize(
    "words", [("runs", "rm", "--yes"), ("runs", "show"), ("runs", "export"), ("train", "--resume")]
)
def test_a_folder_that_is_no_run_is_left_alone(words, target, gradcli, stored, victim):
    before = contents(stored.parent)
    answer = gradcli(*words, target)
    assert answer.code == 2
    assert contents(stored.parent) == before


def test_what_a_comparison_says_of_its_own_place_is_not_believed(gradcli, stored, tmp_path, victim):
    """`info.path` and the ids of trials are read by nothing that writes or removes."""
    comparison = next(stored.glob("*-comparison-*"))
    state = json.loads((comparison / "comparison.json").read_text())
    state["info"]["path"] = str(tmp_path)
    state["info"]["name"] = "../../.."
    (comparison / "comparison.json").write_text(json.dumps(state))
    before = victim.read_bytes()
    for words in (("runs", "show"), ("inspect-gradients",), ("runs", "rm", "--yes")):
        assert gradcli(*words, str(comparison)).code == 0
    assert victim.read_bytes() == before
    assert not comparison.exists()
    assert len(list(stored.iterdir())) == 5


@pytest.mark.parametrize("what", ["file", "link"])
def test_an_export_replaces_a_file_only_if_it_is_told_to(what, gradcli, finished, victim):
    output = victim
    if what == "link":
        output = victim.with_name("link.csv")
        output.symlink_to(victim)
    answer = gradcli("runs", "export", str(finished), "-o", str(output))
    assert answer.code == 2
    assert "--force" in answer.message
    assert victim.read_bytes() == VICTIM


# Links --------------------------------------------------------------------------------------


def test_removing_a_link_leaves_its_target(gradcli, finished, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(finished, elsewhere)
    finished.symlink_to(elsewhere)
    before = contents(elsewhere)
    answer = gradcli("runs", "rm", "--yes", finished.name)
    assert (answer.code, answer.err) == (0, "")
    assert not finished.is_symlink()
    assert contents(elsewhere) == before


def test_a_link_and_its_target_are_two(gradcli, finished):
    link = finished.with_name("a-link")
    link.symlink_to(finished)
    answer = gradcli("runs", "rm", "--yes", str(link), str(finished))
    assert answer.code == 0
    assert answer.out.count("removed") == 2
    assert not link.is_symlink() and not finished.exists()


def test_before_it_is_removed_a_link_is_called_one(gradcli, finished, monkeypatch):
    import io

    link = finished.with_name("a-link")
    link.symlink_to(finished)
    terminal = io.StringIO("n")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    assert f"a link to {finished}" in gradcli("runs", "rm", str(link)).err.replace("\n", "")
    assert link.is_symlink()


@pytest.mark.parametrize("inside", ["plots", "steps.bin", "lock", "checkpoints", "trials"])
def test_links_inside_a_removed_run_go_without_their_targets(inside, gradcli, finished, victim):
    folder = victim.parent / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(VICTIM)
    place = finished / inside
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(folder if inside in ("plots", "checkpoints", "trials") else victim)
    assert gradcli("runs", "rm", "--yes", str(finished)).code == 0
    assert not finished.exists()
    assert victim.read_bytes() == (folder / "file").read_bytes() == VICTIM


@pytest.mark.parametrize(
    "inside",
    ["steps.bin", "evals.jsonl", "probes.jsonl", "lock", "checkpoints", "checkpoints/last.pt"],
)
def test_a_run_with_links_is_not_resumed(inside, gradcli, stored, tmp_path):
    """Its logs are cut to what the checkpoint says, and its locks and checkpoints are made."""
    run = next(stored.glob("*-interrupted-*"))
    place, elsewhere = run / inside, tmp_path / "elsewhere"
    shutil.move(place, elsewhere)
    place.symlink_to(elsewhere)
    before = contents(tmp_path)
    answer = gradcli("train", "--resume", str(run))
    assert answer.code == 2
    assert f"{run / inside} is a symbolic link to {elsewhere}" in answer.message
    assert contents(tmp_path) == before


def test_a_comparison_with_links_is_not_resumed(gradcli, stored, tmp_path):
    comparison = next(stored.glob("*-comparison-*"))
    state = json.loads((comparison / "comparison.json").read_text())
    (comparison / "comparison.json").write_text(json.dumps({**state, "status": "interrupted"}))
    trial = next((comparison / "trials").iterdir())
    shutil.move(trial, tmp_path / "elsewhere")
    trial.symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    answer = gradcli("compare-optimizers", "--resume", str(comparison), "engine=serial")
    assert answer.code == 2
    assert "is a symbolic link to" in answer.message
    assert contents(tmp_path) == before


def test_pictures_do_not_follow_a_link(gradcli, finished, tmp_path):
    shutil.rmtree(finished / "plots", ignore_errors=True)
    (tmp_path / "pictures").mkdir()
    (finished / "plots").symlink_to(tmp_path / "pictures")
    answer = gradcli("inspect-gradients", str(finished), "--plot")
    assert answer.code == 0
    assert "The pictures could not be drawn." in answer.message
    assert list((tmp_path / "pictures").iterdir()) == []
