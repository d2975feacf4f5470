"""Write the lock files: every package that gradcli and its test extra need, with hashes.

    python tools/lock.py    renew both files; `uv` has to be on the path

`make lock` calls it. The versions are those of `constraints.txt`; to change one, change it there
first. Only the packages that PyTorch needs for CUDA are not in that file: they are the newest that
PyTorch admits.

- `requirements.lock`: all but PyTorch, for any platform and any Python from 3.11.
- `requirements-torch.lock`: PyTorch and torchvision from PyPI. On Linux these are the builds with
  CUDA, so the file also has what they need of it.

There are two files because the builds without CUDA come from PyTorch's own index and have other
hashes. If you want those, install them first, and then the first file alone.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OTHERS, TORCH = "requirements.lock", "requirements-torch.lock"

#: How the entries of `requirements-torch.lock` begin.
OF_TORCH = re.compile(r"(torch|torchvision|triton|cuda-.+|nvidia-.+)==")

#: Resolves for all platforms at once. The address of the index is left out: it may be a private
#: mirror, and the hashes are the same everywhere.
COMPILE = (
    *("uv", "pip", "compile", "pyproject.toml", "--extra", "test"),
    *("--constraint", "constraints.txt", "--universal", "--python-version", "3.11"),
    *("--generate-hashes", "--no-header", "--no-annotate", "--quiet"),
    *("--no-emit-index-url", "--no-emit-find-links"),
)
FIRST_LINES = {
    OTHERS: "# What gradcli and its test extra need besides PyTorch. Written by `make lock`.\n",
    TORCH: "# PyTorch from PyPI; on Linux with CUDA. Written by `make lock`.\n",
}


def main() -> None:
    """Renew the lock files."""
    compiled = subprocess.run(COMPILE, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for name, text in locks(compiled.stdout).items():
        (ROOT / name).write_text(text)


def locks(compiled: str) -> dict[str, str]:
    """Return the text of each lock file.

    Args:
        compiled: entries as `uv pip compile` prints them: each begins with the name of a package,
            and its other lines are indented.
    """
    texts = dict(FIRST_LINES)
    for entry in re.findall(r"^\S.*\n(?: .*\n)*", compiled, re.MULTILINE):
        texts[TORCH if OF_TORCH.match(entry) else OTHERS] += entry
    return texts


if __name__ == "__main__":
    main()
