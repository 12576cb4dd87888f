"""Goes on where loaders of another process stopped: `resumed_loader.py JOBS RESULTS`.

A job is how a loader is made and the state that it is given; its result is a digest of every batch of the rest of the
epoch, and of the next epoch.
"""

import hashlib
import sys
from pathlib import Path

import torch

import dfresearch_rs
from dfresearch.data import BatchLoader


def make_loader(kind, root, listing, options):
    samples = dfresearch_rs.Samples(listing)
    if kind == "native":
        return dfresearch_rs.Loader(samples, **options)
    return BatchLoader(Path(root), lambda: samples, **options)


def digests(batches):
    """Return what a batch is, in a few digits: its shape, its labels, its bytes."""
    return [
        f"{tuple(inputs.shape)} {labels.tolist()} {hashlib.sha256(inputs.numpy().tobytes()).hexdigest()}"
        for inputs, labels in batches
    ]


def rest_and_next_epoch(loader):
    return [digests(loader), digests(loader)]


def resume(job):
    loader = make_loader(*job["loader"])
    loader.load_state_dict(job["state"])
    return rest_and_next_epoch(loader)


if __name__ == "__main__":
    # Only what `torch.load` takes from strangers, too.
    jobs = torch.load(sys.argv[1], weights_only=True)
    torch.save([resume(job) for job in jobs], sys.argv[2])
