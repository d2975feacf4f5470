"""Make the bundled sample: the first 500 training images of each digit of MNIST.

    python tools/make_mnist5k.py FOLDER_OF_MNIST [OUT]

Of each digit the first 450 become the sample's training files (of which 50 a digit become the
validation split when it is loaded), the next 50 its test files, all in MNIST's own order.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import torch
from torch import Tensor

from gradcli.data import Split
from gradcli.data.idx import NAMES, read_folder
from gradcli.data.sources import SAMPLE_FOLDER

TRAIN_OF_EACH = 450
TEST_OF_EACH = 50


def choose(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the sample's training and test images, each in ascending order."""
    by_digit = [torch.nonzero(labels == digit).flatten() for digit in range(10)]
    train = torch.cat([found[:TRAIN_OF_EACH] for found in by_digit])
    test = torch.cat([found[TRAIN_OF_EACH:][:TEST_OF_EACH] for found in by_digit])
    return train.sort().values, test.sort().values


def write_idx(path: Path, values: Tensor) -> None:
    """Write unsigned bytes as a gzipped IDX file that depends on the values alone."""
    header = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
    # No time and no name in the header, so that making it again makes the same bytes.
    path.write_bytes(gzip.compress(header + values.numpy().tobytes(), compresslevel=9, mtime=0))


def main() -> None:
    """Read MNIST, write the sample."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mnist", type=Path, help="the folder of MNIST's four files")
    parser.add_argument("out", type=Path, nargs="?", default=SAMPLE_FOLDER)
    arguments = parser.parse_args()

    full, _ = read_folder(arguments.mnist)
    arguments.out.mkdir(parents=True, exist_ok=True)
    names = iter(NAMES)
    for indices in choose(full.targets):
        part = Split(full.inputs[indices], full.targets[indices])
        write_idx(arguments.out / f"{next(names)}.gz", part.inputs.squeeze(1))
        write_idx(arguments.out / f"{next(names)}.gz", part.targets.to(torch.uint8))


if __name__ == "__main__":
    main()
