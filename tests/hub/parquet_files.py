"""Parquet files as bytes, with media in every way in which datasets keep them in columns."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow
import pyarrow.parquet

STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
ARRAY = pyarrow.struct(
    [("path", pyarrow.string()), ("array", pyarrow.list_(pyarrow.float32())), ("sampling_rate", pyarrow.int64())]
)


def make_parquet(columns: Mapping[str, pyarrow.Array], rows_per_group: int = 2, compression: str = "snappy") -> bytes:
    buffer = io.BytesIO()
    table = pyarrow.table(dict(columns))
    pyarrow.parquet.write_table(table, buffer, row_group_size=rows_per_group, compression=compression)
    return buffer.getvalue()


def structs(media: Sequence[bytes | None], extension: str = "png") -> pyarrow.Array:
    """`{bytes, path}`, as the usual dataset libraries write media; no medium is a null."""
    values = [
        None if content is None else {"bytes": content, "path": f"{number}.{extension}"}
        for number, content in enumerate(media)
    ]
    return pyarrow.array(values, STRUCT)


def blobs(media: Sequence[bytes | None], large: bool = False) -> pyarrow.Array:
    return pyarrow.array(media, pyarrow.large_binary() if large else pyarrow.binary())


def texts(media: Sequence[bytes | None]) -> pyarrow.Array:
    """Base64."""
    return pyarrow.array([None if content is None else base64.b64encode(content).decode() for content in media])


def lists(media: Sequence[Sequence[bytes]]) -> pyarrow.Array:
    """A list of `{bytes, path}` in every cell."""
    values = [[{"bytes": content, "path": None} for content in cell] for cell in media]
    return pyarrow.array(values, pyarrow.list_(STRUCT))


def float_arrays(waveforms: Sequence[np.ndarray], rate: int | None) -> pyarrow.Array:
    """`{path, array, sampling_rate}` of samples in -1..1."""
    values = [{"path": None, "array": samples.tolist(), "sampling_rate": rate} for samples in waveforms]
    return pyarrow.array(values, ARRAY)
