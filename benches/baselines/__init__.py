"""The hand-written PyTorch loaders that ours is measured against: what a user would write, four workers each."""

import warnings
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

Sample = tuple[Path, int]

WORKERS = 4
SEED = 42

# Four is what people write, on fewer cores, too.
warnings.filterwarnings("ignore", message="This DataLoader will create")


def start_worker(worker: int) -> None:
    # Four processes with a thread pool each would only get into each other's way.
    cv2.setNumThreads(0)
    np.random.seed(SEED + worker)


def loader_of(dataset: Dataset, batch_size: int, *, training: bool) -> DataLoader:
    """Batches by `WORKERS` processes; in training shuffled, and without a shorter last batch."""
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=training,
        drop_last=training,
        num_workers=WORKERS,
        worker_init_fn=start_worker,
    )
