"""TIFF files of every kind against Pillow; see test_parity_decode.py for the other formats."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import assert_same, assert_same_or_both_refuse, noise, pillow_rgb
from PIL import Image

from dfresearch_rs import DecodeError, decode_image

SIDES = st.integers(1, 40)

TIFF_TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}


def tiff_file(
    tags: dict[int, tuple[str, list[int]]],
    chunks: list[bytes],
    *,
    big_endian: bool = False,
    big: bool = False,
    tiled: bool = False,
) -> bytes:
    """A directory with `tags` (number: (type, values)) behind the chunks that it points to."""
    order = ">" if big_endian else "<"
    head = (b"MM" if big_endian else b"II") + struct.pack(
        order + ("HHH" if big else "H"), *([43, 8, 0] if big else [42])
    )
    wide = "Q" if big else "I"
    position = len(head) + struct.calcsize(wide)
    offsets, body = [], b""
    for chunk in chunks:
        offsets.append(position + len(body))
        body += chunk + bytes(len(chunk) % 2)
    tags = dict(tags)
    tags[324 if tiled else 273] = ("I", offsets)
    tags[325 if tiled else 279] = ("I", [len(chunk) for chunk in chunks])
    entries = b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > struct.calcsize(wide):
            entry = struct.pack(order + wide, position + len(body))
            body += packed + bytes(len(packed) % 2)
        else:
            entry = packed.ljust(struct.calcsize(wide), b"\0")
        entries += struct.pack(f"{order}HH{wide}", tag, TIFF_TYPES[kind], len(values)) + entry
    start = struct.pack(order + wide, position + len(body))
    return head + start + body + struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(8)


def pack_bits(data: bytes) -> bytes:
    """Literals for the most part, and a run of whatever comes first."""
    packed = b""
    if data[:3] == data[:1] * 3:
        packed, data = bytes([254]) + data[:1], data[3:]
    return packed + b"".join(
        bytes([len(data[start : start + 128]) - 1]) + data[start : start + 128] for start in range(0, len(data), 128)
    )


def lzw_of_tiff(data: bytes) -> bytes:
    """TIFF's LZW with a table that never grows past nine bits."""
    number, count = 0, 0
    for position, byte in enumerate(data):
        for code in ([256] if position % 200 == 0 else []) + [byte]:
            number, count = number << 9 | code, count + 9
    number, count = number << 9 | 257, count + 9
    return (number << -count % 8).to_bytes((count + 7) // 8, "big")


TIFF_COMPRESSIONS = {1: bytes, 5: lzw_of_tiff, 8: zlib.compress, 32946: zlib.compress, 32773: pack_bits}

# ruff: noqa: E501
# Photometric interpretation, bits, samples, sample format, extra samples.
TIFF_KINDS = [
    (photometric, bits, 1, 1, ()) for photometric in (0, 1) for bits in (1, 2, 4, 8, 16)
] + [
    (1, 8, 1, 2, ()), (1, 16, 1, 2, ()), (1, 32, 1, 2, ()), (1, 32, 1, 1, ()), (1, 8, 2, 1, (2,)), (1, 8, 2, 1, (0,)),
    (2, 8, 3, 1, ()), (2, 8, 4, 1, ()), (2, 8, 4, 1, (0,)), (2, 8, 4, 1, (1,)), (2, 8, 4, 1, (2,)), (2, 8, 4, 1, (999,)),
    (2, 8, 5, 1, (0, 0)), (2, 8, 5, 1, (1, 0)), (2, 8, 6, 1, (2, 0, 0)), (2, 16, 3, 1, ()), (2, 16, 4, 1, ()),
    (2, 16, 4, 1, (0,)), (2, 16, 4, 1, (1,)), (2, 16, 4, 1, (2,)), (3, 1, 1, 1, ()), (3, 2, 1, 1, ()), (3, 4, 1, 1, ()),
    (3, 8, 1, 1, ()), (3, 8, 2, 1, (0,)), (3, 8, 2, 1, (2,)), (5, 8, 4, 1, ()), (5, 8, 5, 1, (0,)), (5, 16, 4, 1, ()),
    (6, 8, 1, 1, ()),
]  # fmt: skip


def drawn_tiff(kind, width, height, seed, compression, predictor, tile, rows, **options) -> bytes:
    photometric, bits, samples, sample_format, extra = kind
    options = dict(options)
    planar = options.pop("planar", False) and samples > 1
    orientation, reversed_bits = options.pop("orientation", None), options.pop("reversed_bits", False)
    chunk_width, chunk_height = tile or (width, rows)
    across, down = -(-width // chunk_width), -(-height // chunk_height)
    stored_samples = 1 if planar else samples
    chunks = []
    for plane in range(samples if planar else 1):
        for index in range(across * down):
            lines = chunk_height if tile else min(rows, height - index * rows)
            data = noise(seed + plane + index, lines, (chunk_width * stored_samples * bits + 7) // 8).tobytes()
            chunk = TIFF_COMPRESSIONS[compression](data)
            if reversed_bits:
                chunk = bytes(int(f"{byte:08b}"[::-1], 2) for byte in chunk)
            chunks.append(chunk)
    tags = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits] * samples),
        259: ("H", [compression]),
        262: ("H", [photometric]),
        277: ("H", [samples]),
        284: ("H", [2 if planar else 1]),
        339: ("H", [sample_format] * samples),
    }
    if tile:
        tags |= {322: ("I", [chunk_width]), 323: ("I", [chunk_height])}
    else:
        tags[278] = ("I", [rows])
    if extra:
        tags[338] = ("H", list(extra))
    if predictor != 1:
        tags[317] = ("H", [predictor])
    if orientation is not None:
        tags[274] = ("H", [orientation])
    if reversed_bits:
        tags[266] = ("H", [2])
    if photometric == 3:
        tags[320] = ("H", np.random.default_rng(seed).integers(0, 65536, 3 << bits).tolist())
    return tiff_file(tags, chunks, tiled=tile is not None, **options)


def assert_same_or_unsupported(data: bytes) -> None:
    """What is not read must be said to be unsupported, or be no image to Pillow either."""
    expected = pillow_rgb(data)
    refusal = ""
    try:
        decoded = decode_image(data)
    except DecodeError as error:
        refusal = str(error)
    if refusal:
        assert expected is None or "unsupported TIFF" in refusal, refusal
    else:
        np.testing.assert_array_equal(decoded, expected, strict=True)


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(TIFF_KINDS),
    width=SIDES,
    height=SIDES,
    seed=st.integers(0, 2**31),
    compression=st.sampled_from(sorted(TIFF_COMPRESSIONS)),
    predictor=st.sampled_from([1, 1, 2]),
    tile=st.sampled_from([None, None, (16, 16), (32, 16)]),
    rows=st.integers(1, 40),
    big_endian=st.booleans(),
    big=st.booleans(),
    planar=st.booleans(),
    orientation=st.none() | st.integers(0, 9),
    reversed_bits=st.booleans(),
)
def test_tiff_of_every_kind(kind, rows, height, **options):
    data = drawn_tiff(kind, height=height, rows=min(rows, height), **options)
    assert_same_or_unsupported(data)


@pytest.mark.parametrize("compression", sorted(TIFF_COMPRESSIONS))
@pytest.mark.parametrize("kind", TIFF_KINDS)
def test_plain_strips_and_tiles_are_read_like_pillow_reads_them(kind, compression):
    for tile in (None, (16, 16)):
        assert_same_or_both_refuse(drawn_tiff(kind, 37, 29, 4, compression, 1, tile, 10))


def pillow_tiffs() -> dict[str, bytes]:
    """Files by libtiff, whose compressors are not the simple ones of this page."""
    files = {}
    colours = Image.fromarray(noise(9, 70, 90, 3))
    smooth = colours.resize((9, 7)).resize((90, 70), Image.Resampling.BICUBIC)
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LA"):
        image = colours.convert("L").convert(mode) if mode in ("I;16", "I", "F") else colours.convert(mode)
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            buffer = io.BytesIO()
            image.save(buffer, "TIFF", compression=compression)
            files[f"{mode} {compression}"] = buffer.getvalue()
    for mode in ("L", "RGB"):
        for options in ({}, {"strip_size": 2000}, {"tiffinfo": {278: 16}}):
            buffer = io.BytesIO()
            smooth.convert(mode).save(buffer, "TIFF", compression="jpeg", **options)
            files[f"{mode} jpeg {options}"] = buffer.getvalue()
    for mode in ("L", "RGB"):
        buffer = io.BytesIO()
        smooth.convert(mode).save(buffer, "TIFF", compression="tiff_lzw", tiffinfo={317: 2})
        files[f"{mode} lzw with predictor"] = buffer.getvalue()
    buffer = io.BytesIO()
    smooth.save(buffer, "TIFF", save_all=True, append_images=[colours, colours], compression="tiff_lzw")
    files["pages"] = buffer.getvalue()
    return files


@pytest.mark.parametrize("name", pillow_tiffs())
def test_tiff_that_pillow_writes(name):
    assert_same(pillow_tiffs()[name])


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(3, height, width)).save(buffer, "JPEG")
    return buffer.getvalue()


# Width, height, rows of a strip or a square tile's side, the JPEGs' sizes, whether Pillow reads it.
JPEG_CHUNKS = {
    "strips": (20, 20, 8, False, [(20, 8), (20, 8), (20, 4)], True),
    "a last strip as high as the others": (20, 20, 8, False, [(20, 8), (20, 8), (20, 8)], True),
    "a last strip higher than the others": (20, 20, 8, False, [(20, 8), (20, 8), (20, 30)], True),
    "a higher strip": (20, 20, 8, False, [(20, 9), (20, 8), (20, 4)], False),
    "a wider strip": (20, 20, 8, False, [(20, 8), (21, 8), (20, 4)], False),
    "a wider last strip": (20, 20, 8, False, [(20, 8), (20, 8), (21, 8)], False),
    "tiles": (20, 20, 16, True, [(16, 16)] * 4, True),
    "a higher tile": (20, 20, 16, True, [(16, 16), (16, 24), (16, 16), (16, 16)], False),
    "a higher last tile": (20, 20, 16, True, [(16, 16), (16, 16), (16, 16), (16, 24)], False),
    "a wider tile": (20, 20, 16, True, [(24, 16), (16, 16), (16, 16), (16, 16)], False),
    "tiles of a large image": (32, 16, 16, True, [(400, 400)] * 2, False),
}


@pytest.mark.parametrize("name", JPEG_CHUNKS)
def test_jpeg_that_is_larger_than_its_chunk(name):
    width, height, side, tiled, sizes, is_read = JPEG_CHUNKS[name]
    tags = {256: [width], 257: [height], 258: [8], 259: [7], 262: [1]}
    tags |= {322: [side], 323: [side]} if tiled else {278: [side]}
    data = tiff_file({tag: ("I", value) for tag, value in tags.items()}, [jpeg(*size) for size in sizes], tiled=tiled)
    assert (pillow_rgb(data) is not None) == is_read
    assert_same_or_both_refuse(data)
