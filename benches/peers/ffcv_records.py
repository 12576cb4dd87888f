"""FFCV: images of the target's size in its own file, written once, as raw pixels: what our sample cache keeps, too.

Reading it back is a copy, as reading ours is; writing it (OpenCV decodes, crops, resizes) counts for the first epoch.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import Squeeze, ToTensor, ToTorchImage
from ffcv.writer import DatasetWriter

from peers.opencv_threads import cv2, fit

NAME = f"FFCV {version('ffcv')}"
CACHE = "its own file of raw pixels, written in the first epoch"


class Fitted:
    def __init__(self, samples: list[tuple[str, int]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.samples[index]
        return fit(cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)), label


def open_loader(samples: list[tuple[str, int]], modality: str, batch_size: int, workers: int, folder: Path) -> Loader:
    if modality != "image":
        raise NotImplementedError("FFCV has no field for video")
    cv2.setNumThreads(0)
    file = str(folder / "records.beton")
    writer = DatasetWriter(file, {"image": RGBImageField(write_mode="raw"), "label": IntField()}, num_workers=workers)
    writer.from_indexed_dataset(Fitted(samples), chunksize=8)
    return Loader(
        file,
        batch_size=batch_size,
        num_workers=workers,
        order=OrderOption.SEQUENTIAL,
        os_cache=True,
        drop_last=False,
        pipelines={
            "image": [SimpleRGBImageDecoder(), ToTensor(), ToTorchImage(channels_last=False, convert_back_int16=False)],
            "label": [IntDecoder(), ToTensor(), Squeeze([1])],
        },
    )
