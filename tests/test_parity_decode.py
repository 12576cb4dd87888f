"""Decoded pixels against Pillow's `convert("RGB")`, over every kind of file that is read.

Files are written here byte by byte wherever no writer makes their kind.
"""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from dfresearch_rs import DecodeError, decode_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=150, deadline=None)


def pillow_rgb(data: bytes) -> np.ndarray | None:
    """What Pillow makes of an image file, or None if it refuses it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None


def assert_same(data: bytes) -> None:
    """Asserts that Pillow reads the file, and that our pixels are Pillow's."""
    expected = pillow_rgb(data)
    assert expected is not None, "the test's file is not one that Pillow reads"
    np.testing.assert_array_equal(decode_image(data), expected, strict=True)


def assert_same_or_both_refuse(data: bytes) -> None:
    expected = pillow_rgb(data)
    if expected is None:
        with pytest.raises(DecodeError):
            decode_image(data)
    else:
        np.testing.assert_array_equal(decode_image(data), expected, strict=True)


def noise(seed: int, *shape: int) -> np.ndarray:
    """Bytes with runs and gradients in them, so that compressors and filters have something to do."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 256, shape, dtype=np.uint8)
    if seed % 3 == 0:
        values = np.cumsum(values % 5, axis=1, dtype=np.uint8)
    elif seed % 3 == 1 and values.size:
        values[:, : shape[1] // 2] = values[0, 0]
    return values


# PNG

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PNG_KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
PNG_KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def png_chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    if checksum is None:
        checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_header(width: int, height: int, colour_type: int, bits: int, interlaced: bool = False) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced))


PNG_END = png_chunk(b"IEND", b"")


def png_rows(seed: int, width: int, height: int, colour_type: int, bits: int, interlaced: bool) -> bytes:
    """Filtered rows; the filters are drawn, and what they stand for is whatever it turns out to be."""
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    generator = np.random.default_rng(seed)
    rows = []
    for left, top, across, down in passes:
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        row_bytes = (max(columns, 0) * PNG_SAMPLES[colour_type] * bits + 7) // 8
        if row_bytes:
            for line in noise(seed, max(lines, 0), row_bytes):
                rows.append(bytes([generator.integers(0, 5)]) + line.tobytes())
    return b"".join(rows)


def png_file(
    seed: int, width: int, height: int, colour_type: int, bits: int, interlaced: bool, extra: bytes = b""
) -> bytes:
    stream = zlib.compress(png_rows(seed, width, height, colour_type, bits, interlaced), seed % 10)
    parts = [stream[start : start + 100] for start in range(0, len(stream), 100)] if seed % 2 else [stream]
    data = b"".join(png_chunk(b"IDAT", part) for part in parts)
    return PNG_SIGNATURE + png_header(width, height, colour_type, bits, interlaced) + extra + data + PNG_END


@EXAMPLES
@given(
    kind=st.sampled_from(PNG_KINDS), width=SIDES, height=SIDES, interlaced=st.booleans(), seed=SEEDS,
    palette_size=st.integers(1, 256), transparency=st.binary(max_size=8),
)
def test_png_of_every_kind(kind, width, height, interlaced, seed, palette_size, transparency):
    colour_type, bits = kind
    extra = b""
    if colour_type == 3:
        extra = png_chunk(b"PLTE", noise(seed, palette_size, 3).tobytes())
        if transparency:
            extra += png_chunk(b"tRNS", transparency)
    elif colour_type in (0, 2) and transparency:
        extra = png_chunk(b"tRNS", (transparency * 6)[: 2 * PNG_SAMPLES[colour_type]])
    assert_same(png_file(seed, width, height, colour_type, bits, interlaced, extra))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16", "P", "RGB", "RGBA"])
def test_png_that_pillow_writes(mode):
    image = Image.fromarray(noise(3, 37, 53, 3)).convert("L" if mode == "I;16" else mode).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert_same(buffer.getvalue())


def damaged_pngs() -> dict[str, bytes]:
    header = png_header(64, 48, 2, 8)
    rows = png_rows(0, 64, 48, 2, 8, False)
    stream = zlib.compress(rows)
    wrong_adler = stream[:-1] + bytes([stream[-1] ^ 1])
    image = png_chunk(b"IDAT", stream)
    start = PNG_SIGNATURE + header
    text = png_chunk(b"tEXt", b"key\0value")
    row_bytes = 64 * 3 + 1
    return {
        "wrong checksum of the header": PNG_SIGNATURE + header[:-1] + b"?" + image + PNG_END,
        "wrong checksum of a text": start + png_chunk(b"tEXt", b"key\0value", 0) + image + PNG_END,
        "wrong checksum of a text behind the image": start + image + png_chunk(b"tEXt", b"a\0b", 0) + PNG_END,
        "wrong checksum of the image": start + png_chunk(b"IDAT", stream, 0) + PNG_END,
        "wrong checksum of the stream": start + png_chunk(b"IDAT", wrong_adler) + PNG_END,
        "no checksum of the stream": start + png_chunk(b"IDAT", stream[:-4]) + PNG_END,
        "no end": start + image,
        "no checksum at the end": start + image[:-4],
        "a text cut off at the end": start + image + text[:12],
        "an unknown chunk cut off at the end": start + image + png_chunk(b"abCd", bytes(100))[:50],
        "zeros at the end": start + image + bytes(50),
        "something behind the end": start + image + PNG_END + b"something",
        "image cut off": (start + image)[:-2000],
        "stream cut off": start + png_chunk(b"IDAT", stream[:-200]) + PNG_END,
        "rows missing within one": start + png_chunk(b"IDAT", zlib.compress(rows[: row_bytes * 20 + 7])) + PNG_END,
        "too many rows": start + png_chunk(b"IDAT", zlib.compress(rows + rows)) + PNG_END,
        "a filter that does not exist": start + png_chunk(b"IDAT", zlib.compress(b"\x09" + rows[1:])) + PNG_END,
        "a text within the image": start + png_chunk(b"IDAT", stream[:500]) + text
        + png_chunk(b"IDAT", stream[500:]) + PNG_END,
        "empty parts of the image": start + png_chunk(b"IDAT", b"") + image + png_chunk(b"IDAT", b"") + PNG_END,
        "no image": start + PNG_END,
        "no header": PNG_SIGNATURE + image + PNG_END,
        "a chunk before the header": PNG_SIGNATURE + text + header + image + PNG_END,
        "a chunk without a name": start + png_chunk(b"a-Cd", b"") + image + PNG_END,
        "a header that is too long": PNG_SIGNATURE
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0) + b"more") + image + PNG_END,
        "a depth that does not exist": PNG_SIGNATURE + png_header(64, 48, 2, 3) + image + PNG_END,
        "no width": PNG_SIGNATURE + png_header(0, 48, 2, 8) + image + PNG_END,
        "a palette that is too long": PNG_SIGNATURE + png_header(64, 48, 3, 8)
        + png_chunk(b"PLTE", bytes(3 * 257)) + image + PNG_END,
        "no palette": PNG_SIGNATURE + png_header(64, 48, 3, 8) + image + PNG_END,
        "a palette with part of a colour": PNG_SIGNATURE + png_header(64, 48, 3, 8)
        + png_chunk(b"PLTE", bytes(range(31))) + image + PNG_END,
        "two palettes": PNG_SIGNATURE + png_header(64, 48, 3, 8) + png_chunk(b"PLTE", b"abc" * 256)
        + png_chunk(b"PLTE", b"xyz") + image + PNG_END,
        "a palette behind the image": PNG_SIGNATURE + png_header(64, 48, 3, 8) + image
        + png_chunk(b"PLTE", b"abc" * 256) + PNG_END,
        "gamma": start + png_chunk(b"gAMA", struct.pack(">I", 45_455)) + image + PNG_END,
    }


@pytest.mark.parametrize("name", damaged_pngs())
def test_png_out_of_order_is_taken_as_pillow_takes_it(name):
    assert_same_or_both_refuse(damaged_pngs()[name])


@pytest.mark.parametrize("length", range(0, 3000, 97))
def test_png_cut_anywhere_is_taken_as_pillow_takes_it(length):
    assert_same_or_both_refuse(png_file(2, 30, 30, 2, 8, False)[:length])


def test_large_texts_and_profiles_are_no_obstacle():
    large = zlib.compress(bytes(3_000_000))
    extra = png_chunk(b"zTXt", b"key\0\0" + large) + png_chunk(b"iTXt", b"key\0\1\0\0\0" + large)
    extra += png_chunk(b"iCCP", b"name\0\0" + large) + png_chunk(b"tEXt", b"key\0" + b"x" * 3_000_000)
    data = png_file(5, 20, 10, 2, 8, False, extra)
    np.testing.assert_array_equal(decode_image(data), pillow_rgb(png_file(5, 20, 10, 2, 8, False)))


@pytest.mark.parametrize("colour_type", [2, 3, 6])
def test_animated_png_gives_its_first_frame(colour_type):
    frames = [Image.fromarray(noise(seed, 20, 30, 3)) for seed in (6, 7, 8)]
    frames = [frame.convert({2: "RGB", 3: "P", 6: "RGBA"}[colour_type]) for frame in frames]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    assert_same(buffer.getvalue())
    separate = io.BytesIO()
    frames[0].save(separate, "PNG", save_all=True, append_images=frames[1:], default_image=True)
    assert_same(separate.getvalue())


@pytest.mark.parametrize("kind", [(0, 8), (2, 8), (3, 4)])
def test_first_frame_smaller_than_its_canvas(kind):
    control = struct.pack(">IIIIIHHBB", 0, 9, 7, 5, 3, 1, 10, 0, 0)
    stream = zlib.compress(png_rows(4, 9, 7, *kind, False))
    extra = png_chunk(b"acTL", struct.pack(">II", 1, 0)) + png_chunk(b"PLTE", bytes(range(48)))
    data = PNG_SIGNATURE + png_header(20, 15, *kind) + extra + png_chunk(b"fcTL", control)
    assert_same(data + png_chunk(b"IDAT", stream) + PNG_END)


# BMP


def bmp_file(
    width: int, height: int, bits: int, pixels: bytes, *, compression: int = 0, palette: bytes = b"",
    colours: int = 0, masks: tuple[int, ...] = (), header_bytes: int = 40, top_down: bool = False,
    offset: int | None = None,
) -> bytes:
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        rows = -height if top_down else height
        header = struct.pack("<IiiHHIIiiII", header_bytes, width, rows, 1, bits, compression, 0, 0, 0, colours, 0)
        within = b"".join(struct.pack("<I", mask) for mask in masks)
        header += within if header_bytes == 40 else within.ljust(header_bytes - 40, b"\0")
    if offset is None:
        offset = 14 + len(header) + len(palette)
    size = 14 + len(header) + len(palette) + len(pixels)
    return b"BM" + struct.pack("<IHHI", size, 0, 0, offset) + header + palette + pixels


def bmp_pixels(seed: int, width: int, height: int, bits: int) -> bytes:
    return noise(seed, height, (width * bits + 31) // 32 * 4).tobytes()


@EXAMPLES
@given(
    bits=st.sampled_from([1, 4, 8, 16, 24, 32]), width=SIDES, height=SIDES, seed=SEEDS,
    top_down=st.booleans(), header_bytes=st.sampled_from([12, 40, 52, 56, 64, 108, 124]),
    colours=st.integers(1, 256), padding=st.booleans(),
)
def test_bmp_of_every_depth(bits, width, height, seed, top_down, header_bytes, colours, padding):
    palette, entry_bytes = b"", 3 if header_bytes == 12 else 4
    if bits <= 8:
        colours = 1 << bits if header_bytes == 12 else min(colours, 1 << bits)
        palette = noise(seed + 1, colours, entry_bytes).tobytes()
    pixels = bmp_pixels(seed, width, height, bits)
    if not padding:
        pixels = pixels[: len(pixels) - (-(-width * bits // 8)) % -4 * -1 or None]
    assert_same_or_both_refuse(
        bmp_file(width, height, bits, pixels, palette=palette, colours=colours if bits <= 8 else 0,
                 header_bytes=header_bytes, top_down=top_down)
    )


BIT_FIELDS = [
    (32, (0xFF0000, 0xFF00, 0xFF, 0)), (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, (0xFF000000, 0xFF00, 0xFF, 0)), (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)), (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, (0xFF000000, 0xFF00, 0xFF, 0xFF0000)), (32, (0, 0, 0, 0)), (24, (0xFF0000, 0xFF00, 0xFF, 0)),
    (16, (0xF800, 0x7E0, 0x1F, 0)), (16, (0x7C00, 0x3E0, 0x1F, 0)), (16, (0xF00, 0xF0, 0xF, 0)),
    (32, (0x3FF00000, 0xFFC00, 0x3FF, 0)), (8, (0xE0, 0x1C, 3, 0)),
]  # fmt: skip


@pytest.mark.parametrize("header_bytes", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("bits, masks", BIT_FIELDS)
def test_bmp_with_bit_fields(bits, masks, header_bytes):
    pixels = bmp_pixels(11, 19, 13, bits)
    assert_same_or_both_refuse(
        bmp_file(19, 13, bits, pixels, compression=3, header_bytes=header_bytes,
                 masks=masks[:3] if header_bytes == 40 else masks)
    )


@EXAMPLES
@given(
    codes=st.lists(
        st.one_of(
            st.tuples(st.integers(1, 60), st.integers(0, 255)).map(bytes),
            st.just(b"\0\0"),
            st.just(b"\0\2\1\1\2\1"),
            st.tuples(st.integers(3, 12), st.binary(min_size=12, max_size=12)).map(
                lambda drawn: bytes([0, drawn[0]]) + drawn[1][: (drawn[0] + 1) // 2 * 2]
            ),
        ),
        max_size=40,
    ),
    compression=st.sampled_from([1, 2]), width=SIDES, height=SIDES, seed=SEEDS, grey=st.booleans(),
)
def test_bmp_with_run_lengths(codes, compression, width, height, seed, grey):
    palette = bytes(v for level in range(256) for v in (level,) * 3 + (0,))
    if not grey:
        palette = noise(seed, 256, 4).tobytes()
    # Enough of one colour behind the drawn codes that most images are complete.
    filled = b"".join(codes) + (b"\xff\x07" * (width // 255 + 1) + b"\0\0") * height
    bits = 8 if compression == 1 else 4
    palette = palette if bits == 8 else palette[:64]
    assert_same_or_both_refuse(bmp_file(width, height, bits, filled + b"\0\1", compression=compression, palette=palette))


def odd_bmps() -> dict[str, bytes]:
    ramp = bytes(v for level in range(256) for v in (level,) * 3 + (0,))
    black_white = b"\0\0\0\0\xff\xff\xff\0"
    pixels = bmp_pixels(12, 20, 10, 8)
    true_colour = bmp_file(20, 10, 24, bmp_pixels(12, 20, 10, 24))
    return {
        "grey ramp": bmp_file(20, 10, 8, pixels, palette=ramp),
        "black and white": bmp_file(20, 10, 1, bmp_pixels(12, 20, 10, 1), palette=black_white),
        "white and black": bmp_file(20, 10, 1, bmp_pixels(12, 20, 10, 1), palette=black_white[4:] + black_white[:4]),
        "black and white in bytes": bmp_file(20, 10, 8, pixels, palette=black_white, colours=2),
        "sixteen greys": bmp_file(20, 10, 4, bmp_pixels(12, 20, 10, 4), palette=ramp[:64]),
        "sixteen greys in bytes": bmp_file(20, 10, 8, pixels, palette=ramp[:64], colours=16),
        "palette not counted": bmp_file(20, 10, 8, pixels, palette=noise(1, 256, 4).tobytes(), offset=54),
        "no offset": bmp_file(20, 10, 8, pixels, palette=noise(1, 256, 4).tobytes(), offset=0),
        "too many colours": bmp_file(20, 10, 8, pixels, palette=noise(1, 300, 4).tobytes(), colours=300),
        "far too many colours": bmp_file(20, 10, 8, pixels, palette=noise(1, 300, 4).tobytes(), colours=70_000),
        "palette cut off": bmp_file(20, 10, 8, b"", palette=noise(1, 100, 4).tobytes()),
        "two bits": bmp_file(20, 10, 2, bmp_pixels(12, 20, 10, 2), palette=bytes(16)),
        "JPEG within": bmp_file(20, 10, 24, bytes(1000), compression=4),
        "run lengths of true colour": bmp_file(20, 10, 24, bytes(1000), compression=1),
        "run lengths of black and white": bmp_file(20, 10, 1, bytes(1000), compression=1, palette=black_white),
        "a header of another size": bmp_file(20, 10, 24, bytes(1000), header_bytes=44),
        "one byte missing": true_colour[:-1],
        "cut in the header": true_colour[:30],
        "cut in the file header": true_colour[:10],
        "no width": bmp_file(0, 10, 24, bytes(1000)),
    }


@pytest.mark.parametrize("name", odd_bmps())
def test_bmp_out_of_the_ordinary_is_taken_as_pillow_takes_it(name):
    assert_same_or_both_refuse(odd_bmps()[name])


# GIF


def gif_file(mode: str, width: int, height: int, seed: int, **options) -> bytes:
    levels = noise(seed, height, width)
    image = Image.fromarray(levels)
    if mode == "P":
        image = Image.fromarray(levels % (seed % 255 + 2), mode="P")
        image.putpalette(noise(seed + 1, 256, 3).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "GIF", **options)
    return buffer.getvalue()


def lzw_without_codes(indices: bytes, bits: int) -> bytes:
    """Indices as GIF data whose table never grows: a clear code before every second index."""
    clear, size = 1 << bits, bits + 1
    number = position = 0
    for count, index in enumerate(indices):
        for code in ([clear] if count % 2 == 0 else []) + [index]:
            number |= code << position
            position += size
    number |= (clear + 1) << position
    stream = number.to_bytes((position + size + 7) // 8, "little")
    blocks = [stream[start : start + 255] for start in range(0, len(stream), 255)]
    return bytes([bits]) + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def hand_made_gif(
    seed: int, screen: tuple[int, int], box: tuple[int, int, int, int], *, global_palette: int = 0,
    local_palette: int = 0, transparent: int | None = None, interlaced: bool = False, background: int = 0,
) -> bytes:
    """`global_palette` and `local_palette` are 0 for none, or else the bits of an index."""
    left, top, width, height = box
    generator = np.random.default_rng(seed)
    data = b"GIF89a" + struct.pack("<HH", *screen)
    data += bytes([0x80 | (global_palette - 1) if global_palette else 0, background, 0])
    if global_palette:
        data += generator.bytes(3 << global_palette)
    if transparent is not None:
        data += b"!\xf9\x04" + bytes([1, 0, 0, transparent, 0])
    flags = (0x80 | (local_palette - 1) if local_palette else 0) | (0x40 if interlaced else 0)
    data += b"," + struct.pack("<HHHHB", left, top, width, height, flags)
    if local_palette:
        data += generator.bytes(3 << local_palette)
    indices = noise(seed, height, width).tobytes()
    return data + lzw_without_codes(indices, 8) + b";"


@EXAMPLES
@given(mode=st.sampled_from(["L", "P"]), width=SIDES, height=SIDES, seed=SEEDS, interlaced=st.booleans())
def test_gif_that_pillow_writes(mode, width, height, seed, interlaced):
    assert_same(gif_file(mode, width, height, seed, interlace=interlaced))


@EXAMPLES
@given(
    screen=st.tuples(SIDES, SIDES), box=st.tuples(st.integers(0, 9), st.integers(0, 9), SIDES, SIDES), seed=SEEDS,
    global_palette=st.integers(0, 8), local_palette=st.integers(0, 8), interlaced=st.booleans(),
    transparent=st.none() | st.integers(0, 255), background=st.integers(0, 255),
)
def test_gif_with_a_frame_anywhere(screen, box, seed, **options):
    assert_same(hand_made_gif(seed, screen, box, **options))


def test_animated_gif_gives_its_first_frame():
    others = [Image.fromarray(noise(seed, 20, 30)) for seed in (21, 22)]
    assert_same(gif_file("P", 30, 20, 20, save_all=True, append_images=others, loop=0))


@pytest.mark.parametrize("length", [3, 12, 100, 500, -200, -30, -3])
def test_gif_cut_off_is_taken_as_pillow_takes_it(length):
    assert_same_or_both_refuse(gif_file("P", 40, 30, 2)[:length])


# TIFF

TIFF_TYPES = {"B": 1, "H": 3, "I": 4, "Q": 16}


def tiff_file(tags: dict[int, tuple[str, list[int]]], chunks: list[bytes], *, big_endian: bool = False,
              big: bool = False, tiled: bool = False) -> bytes:
    """A directory with `tags` (number: (type, values)) behind the chunks that it points to."""
    order = ">" if big_endian else "<"
    head = (b"MM" if big_endian else b"II") + struct.pack(order + ("HHH" if big else "H"), *([43, 8, 0] if big else [42]))
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
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * samples), 259: ("H", [compression]),
        262: ("H", [photometric]), 277: ("H", [samples]), 284: ("H", [2 if planar else 1]),
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


@settings(max_examples=400, deadline=None)
@given(
    kind=st.sampled_from(TIFF_KINDS), width=SIDES, height=SIDES, seed=st.integers(0, 2**31),
    compression=st.sampled_from(sorted(TIFF_COMPRESSIONS)), predictor=st.sampled_from([1, 1, 2]),
    tile=st.sampled_from([None, None, (16, 16), (32, 16)]), rows=st.integers(1, 40), big_endian=st.booleans(),
    big=st.booleans(), planar=st.booleans(), orientation=st.none() | st.integers(0, 9), reversed_bits=st.booleans(),
)
def test_tiff_of_every_kind(kind, rows, height, **options):
    data = drawn_tiff(kind, height=height, rows=min(rows, height), **options)
    expected = pillow_rgb(data)
    try:
        decoded = decode_image(data)
    except DecodeError as error:
        # What is not read must be said to be unsupported, or be no image to Pillow either.
        assert expected is None or "unsupported TIFF" in str(error), error
    else:
        np.testing.assert_array_equal(decoded, expected, strict=True)


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
