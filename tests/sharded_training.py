"""One process of several that train one model, in `torchrun`'s environment.

    sharded_training.py FOLDER EPOCHS BATCH_SIZE alike     # every process has as many batches as the others
    sharded_training.py FOLDER EPOCHS BATCH_SIZE unlike    # a process may have fewer

Writes what it was given, and the weights that it ended with, to `FOLDER/rank-{rank}.pt`.
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from dfresearch.data import make_dataloader
from dfresearch.device_batches import device_batches

SIZE = (16, 16)


def train(folder: Path, epochs: int, batch_size: int, join: bool) -> None:
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    loader = make_dataloader("image", "train", batch_size, SIZE, augment_level=2, seed=9)
    validation = make_dataloader("image", "val", 4, SIZE)
    model = DistributedDataParallel(nn.Linear(3 * SIZE[0] * SIZE[1], 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    given = []
    for _ in range(epochs):
        given.append([])
        with model.join() if join else nullcontext():
            for inputs, labels in device_batches(loader, "cpu"):
                optimizer.zero_grad()
                functional.cross_entropy(model(inputs.flatten(1) / 255), labels).backward()
                optimizer.step()
                given[-1].append((inputs, labels))
    result = {
        "given": given,
        "length": len(loader),
        "validation": sum(len(labels) for _, labels in validation),
        "quarantined": [path.name for path, _ in loader.quarantined],
        "weights": model.module.weight.detach(),
    }
    torch.save(result, folder / f"rank-{distributed.get_rank()}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    train(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), join=sys.argv[4] == "unlike")
