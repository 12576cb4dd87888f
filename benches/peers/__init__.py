"""Other loaders on the same files, decode and resize alone, each in a process (and an environment) of its own.

A module here is one peer. It imports nothing of this project, for its environment may not have it:

    NAME: str                              what the report calls it
    CACHE: str                             what it keeps from epoch to epoch
    open_loader(samples, modality, batch_size, workers, folder) -> object
        iterated once an epoch: (uint8 [B, 3, 224, 224] or [B, 16, 3, 224, 224], labels) in the order of `samples`;
        `folder` is empty and its own; what it does here counts for its first epoch

and raises `NotImplementedError` with a reason for a modality that it cannot read. `serve.py` runs one for the report.
"""

SIZE = (224, 224)
NUM_FRAMES = 16


def centre_box(height: int, width: int) -> tuple[int, int, int, int]:
    """The competition's crop to the target's aspect ratio: top, left, height, width."""
    scale = min(height / SIZE[0], width / SIZE[1])
    crop_height, crop_width = min(height, round(scale * SIZE[0])), min(width, round(scale * SIZE[1]))
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
