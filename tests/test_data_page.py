"""docs/data.md: its commands work as written, and it has every key of the options."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
OF_ALL = {"name", "val", "drop_last", "normalize"}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The files that the commands name, in the working directory."""
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (36, 8, 8, 3), dtype=np.uint8)
    np.savez("mine.npz", x_train=images, y_train=np.arange(36) % 2)
    Path("folder_of_idx").mkdir()
    for name, values in (("images-idx4", images), ("labels-idx1", np.arange(36, dtype="u1") % 2)):
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        Path(f"folder_of_idx/train-{name}-ubyte").write_bytes(header + values.tobytes())
    for index, pixels in enumerate(images):
        folder = Path("pictures") / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(folder / f"{index}.png")
    rows = [f"{size:.1f},{'ab'[i % 2]},{2 * size:.2f}" for i, size in enumerate(random.random(36))]
    Path("houses.csv").write_text("\n".join(("size,town,price", *rows)))
    Path("poem.txt").write_text("a rose is a rose is a rose. " * 30)


@pytest.mark.parametrize("option", SECTIONS)
def test_each_command_works(option, files, gradcli, runs_dir):
    ((command,),) = [re.findall(r"^gradcli (.*)$", SECTIONS[option], re.MULTILINE)]
    answer = gradcli(*shlex.split(command), "max_steps=3", "device=cpu", "--no-live")
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("option", SECTIONS)
def test_each_key_is_in_the_table(option):
    values = yaml.safe_load((ROOT / "configs" / "data" / f"{option}.yaml").read_text())
    rows = re.findall(r"^\| (`data.*?) \|", SECTIONS[option], re.MULTILINE)
    named = set(re.findall(r"`data\.(\w+)`", " ".join(rows)))
    expected = set(values) - OF_ALL - {"_target_"}
    assert named == (expected if option in ("arrays", "images") else expected - {"folder"})
    assert all(f"`data.{key}`" in PAGE for key in OF_ALL)


def test_augmented_images_work_as_written(files, gradcli, runs_dir):
    """Their section has no option of `data`, but commands and a file of its own."""
    section = PAGE.partition("## Augmented images\n")[2].partition("\n## ")[0]
    ((name, text),) = re.findall(r"^```yaml (\S+)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text(text)
    commands = re.findall(r"^gradcli (train .*)$", section, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        answer = gradcli(*shlex.split(command), "max_steps=2", "device=cpu", "--no-live")
        assert answer.code == 0, answer.err
    options = {path.stem for path in (ROOT / "configs" / "augment").glob("*.yaml")}
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == options


def test_the_readme_leads_to_it():
    assert "docs/data.md" in (ROOT / "README.md").read_text(encoding="utf-8")
