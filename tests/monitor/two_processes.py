"""Trainings by two processes, for the tests to look at: `python two_processes.py RANK FOLDER`.

Each function is a training, in which both processes take part; what it returns is written to
FOLDER/NAME-RANK.json. `data`, `build` and `shard` are also what the tests compute with alone.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from gradcli import GradientMonitor, UserError

PROCESSES = 2
BATCH, STEPS, LEARNING_RATE, LIMIT = 16, 25, 0.1, 0.4
FAULTY_STEP = 4
#: Far more than anything here takes, so that a process that waits for ever fails.
PATIENCE = timedelta(seconds=60)


def build(dtype=torch.float32):
    """Layers of 5 units (shards of 3 and 2) and of 1 (one shard is empty), and a bias of zeros.

    The second shard of the first weight is all zero, but not the weight.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1), nn.Tanh(), nn.Linear(1, 3))
    with torch.no_grad():
        model[0].weight[3:] = 0
        model[4].bias.zero_()
    return model.to(dtype)


def data(step, dtype=torch.float32):
    """The whole batch of a step."""
    generator = torch.Generator().manual_seed(step)
    inputs = torch.randn(BATCH, 6, generator=generator)
    return inputs.to(dtype), (inputs.sum(1) > 0).long() + (inputs[:, 0] > 1)


def part(batch, rank, of=PROCESSES):
    return tuple(one.chunk(of)[rank] for one in batch)


def training(
    model, rank, folder, *, dtype=torch.float32, parts=1, sync=None, break_at=0, **options
):
    """Train, each process on its part of each batch; return the run and the losses.

    Args:
        parts: micro-batches per update.
        sync: returns a context for the micro-batches before the last.
        break_at: the step at which the inputs of process 1 are NaN.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    with GradientMonitor(model, optimizer, runs_dir=folder, every=10, **options) as monitor:
        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            mine, loss = part(data(step, dtype), rank), 0.0
            for number in range(parts):
                inputs, labels = part(mine, number, parts)
                if step == break_at and rank == 1:
                    inputs = inputs * math.nan
                with sync(number == parts - 1) if sync else nullcontext():
                    one = nn.functional.cross_entropy(model(inputs), labels)
                    (one / parts).backward()
                loss += one.item() / parts
            monitor.step(loss if parts > 1 else one)
            nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
            optimizer.step()
            losses.append(loss)
    return {"run": monitor.run and str(monitor.run), "losses": losses}


def sharded(model, mesh=None):
    from torch.distributed.fsdp import fully_shard

    options = {} if mesh is None else {"mesh": mesh}
    fully_shard(model[0], **options)
    return fully_shard(model, **options)


def refusal(model, optimizer, **options):
    try:
        GradientMonitor(model, optimizer, **options)
    except UserError as error:
        return [str(error), error.hint]
    return None


def warnings_of(model, rank, folder):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        training(model, rank, folder, break_at=FAULTY_STEP)
    return [str(one.message) for one in caught]


def error_of(model, rank, folder):
    try:
        training(model, rank, folder, break_at=FAULTY_STEP, stop_on_fault=True)
    except FloatingPointError as error:
        return str(error)
    return None


# Trainings.


def ddp(rank, folder):
    return training(DistributedDataParallel(build()), rank, folder)


def ddp_of_views(rank, folder):
    model = DistributedDataParallel(build(torch.float64), gradient_as_bucket_view=True)
    return training(model, rank, folder, dtype=torch.float64)


def ddp_accumulated(rank, folder):
    model = DistributedDataParallel(build())
    return training(
        model,
        rank,
        folder,
        parts=2,
        sync=lambda last: nullcontext() if last else model.no_sync(),
    )


def shards(rank, folder):
    return training(sharded(build()), rank, folder)


def shards_of_doubles(rank, folder):
    return training(sharded(build(torch.float64)), rank, folder, dtype=torch.float64)


def shards_accumulated(rank, folder):
    model = sharded(build())

    def sync(last):
        model.set_requires_gradient_sync(last)
        return nullcontext()

    return training(model, rank, folder, parts=2, sync=sync)


def copies_of_shards(rank, folder):
    mesh = distributed.init_device_mesh("cpu", (2, 1), mesh_dim_names=("copies", "shards"))
    return training(sharded(build(), mesh), rank, folder)


def shards_beside_a_frozen_layer(rank, folder):
    from torch.distributed.fsdp import fully_shard

    model = build()
    model[4].requires_grad_(False)
    fully_shard(model[0])
    fully_shard(model[2])
    return training(model, rank, folder)


def faulty_ddp(rank, folder):
    return warnings_of(DistributedDataParallel(build()), rank, folder)


def faulty_shards(rank, folder):
    return warnings_of(sharded(build()), rank, folder)


def stopping_ddp(rank, folder):
    return error_of(DistributedDataParallel(build()), rank, folder)


def stopping_shards(rank, folder):
    return error_of(sharded(build()), rank, folder)


class Communicating(nn.Module):
    """Centres over the batch of all processes, as `SyncBatchNorm` does."""

    def forward(self, inputs):
        mean = inputs.detach().mean(0)
        distributed.all_reduce(mean)
        return inputs - mean / PROCESSES


def communicating(rank, folder):
    return warnings_of(DistributedDataParallel(build().append(Communicating())), rank, folder)


def closed_by_one(rank, folder):
    """Process 1 closes its monitor early, and process 0 alone has one in the second training."""
    found = []
    for made in ((0, 1), (0,)):
        model = DistributedDataParallel(build())
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        monitor = GradientMonitor(model, optimizer, runs_dir=folder) if rank in made else None
        for step in range(1, STEPS + 1):
            inputs, labels = part(data(step), rank)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            if monitor is not None and (rank == 0 or step < 3):
                monitor.step(loss)
            optimizer.step()
            if monitor is not None and rank == 1 and step == 2:
                monitor.close()
        if rank == 0:
            monitor.evaluation(loss=1.0)
            monitor.close()
            found.append(str(monitor.run))
    return found


def shards_closed_in_turn(rank, folder):
    """After the last step, process 0 evaluates and closes before process 1 does anything."""
    model = sharded(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    monitor = GradientMonitor(model, optimizer, runs_dir=folder)
    inputs, labels = part(data(1), rank)
    loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    monitor.step(loss)
    optimizer.step()
    if rank == 0:
        monitor.evaluation(loss=1.0)
        monitor.close()
    distributed.barrier()
    monitor.close()
    return monitor.run and str(monitor.run)


def refusals(rank, folder):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import distribute_module

    found = {}
    model = sharded(build())
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    options = {"runs_dir": folder / "refused"}
    found["every_pass"] = refusal(model, optimizer, watch="every_pass", **options)
    scaler = torch.amp.GradScaler("cpu")
    found["scaler"] = refusal(model, optimizer, scaler=scaler, **options)
    with torch.no_grad():
        model(data(1)[0])  # the root's parameters stay whole after a forward pass
    found["unsharded"] = refusal(model, optimizer, **options)
    model = build()
    fully_shard(model[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    found["partly"] = refusal(model, optimizer, **options)
    model = distribute_module(build(), distributed.init_device_mesh("cpu", (PROCESSES,)))
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    found["tensors"] = refusal(model, optimizer, **options)
    return found


TRAININGS = (
    *(ddp, ddp_of_views, ddp_accumulated),
    *(shards, shards_of_doubles, shards_accumulated, copies_of_shards),
    *(faulty_ddp, faulty_shards, stopping_ddp, stopping_shards, communicating),
    *(shards_beside_a_frozen_layer, closed_by_one, shards_closed_in_turn, refusals),
)


def main(rank, folder):
    torch.set_num_threads(1)
    store = distributed.FileStore(str(folder / "store"), PROCESSES)
    distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=PROCESSES, timeout=PATIENCE
    )
    for train in TRAININGS:
        found = train(rank, folder / train.__name__)
        (folder / f"{train.__name__}-{rank}.json").write_text(json.dumps(found))
        distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
