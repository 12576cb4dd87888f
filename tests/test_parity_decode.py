"""Decoded pixels against Pillow's `convert("RGB")`, over every kind of file that is read.

Files are written here byte by byte wherever no writer makes their kind.
"""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import (
    PNG_END,
    PNG_SAMPLES,
    PNG_SIGNATURE,
    assert_same,
    assert_same_or_both_refuse,
    bmp_file,
    bmp_pixels,
    gif_file,
    hand_made_gif,
    noise,
    pillow_rgb,
    png_chunk,
    png_file,
    png_header,
    png_rows,
)
from PIL import Image

from dfresearch_rs import decode_image

SIDES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=150, deadline=None)


# PNG

PNG_KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
PNG_KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]


@EXAMPLES
@given(
    kind=st.sampled_from(PNG_KINDS),
    width=SIDES,
    height=SIDES,
    interlaced=st.booleans(),
    seed=SEEDS,
    palette_size=st.integers(1, 256),
    transparency=st.binary(max_size=8),
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
        "a text within the image": start
        + png_chunk(b"IDAT", stream[:500])
        + text
        + png_chunk(b"IDAT", stream[500:])
        + PNG_END,
        "empty parts of the image": start + png_chunk(b"IDAT", b"") + image + png_chunk(b"IDAT", b"") + PNG_END,
        "no image": start + PNG_END,
        "no header": PNG_SIGNATURE + image + PNG_END,
        "a chunk before the header": PNG_SIGNATURE + text + header + image + PNG_END,
        "a chunk without a name": start + png_chunk(b"a-Cd", b"") + image + PNG_END,
        "a header that is too long": PNG_SIGNATURE
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0) + b"more")
        + image
        + PNG_END,
        "a depth that does not exist": PNG_SIGNATURE + png_header(64, 48, 2, 3) + image + PNG_END,
        "no width": PNG_SIGNATURE + png_header(0, 48, 2, 8) + image + PNG_END,
        "a palette that is too long": PNG_SIGNATURE
        + png_header(64, 48, 3, 8)
        + png_chunk(b"PLTE", bytes(3 * 257))
        + image
        + PNG_END,
        "no palette": PNG_SIGNATURE + png_header(64, 48, 3, 8) + image + PNG_END,
        "a palette with part of a colour": PNG_SIGNATURE
        + png_header(64, 48, 3, 8)
        + png_chunk(b"PLTE", bytes(range(31)))
        + image
        + PNG_END,
        "two palettes": PNG_SIGNATURE
        + png_header(64, 48, 3, 8)
        + png_chunk(b"PLTE", b"abc" * 256)
        + png_chunk(b"PLTE", b"xyz")
        + image
        + PNG_END,
        "a palette behind the image": PNG_SIGNATURE
        + png_header(64, 48, 3, 8)
        + image
        + png_chunk(b"PLTE", b"abc" * 256)
        + PNG_END,
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


@EXAMPLES
@given(
    bits=st.sampled_from([1, 4, 8, 16, 24, 32]),
    width=SIDES,
    height=SIDES,
    seed=SEEDS,
    top_down=st.booleans(),
    header_bytes=st.sampled_from([12, 40, 52, 56, 64, 108, 124]),
    colours=st.integers(1, 256),
    padding=st.booleans(),
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
        bmp_file(
            width,
            height,
            bits,
            pixels,
            palette=palette,
            colours=colours if bits <= 8 else 0,
            header_bytes=header_bytes,
            top_down=top_down,
        )
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
@pytest.mark.parametrize(("bits", "masks"), BIT_FIELDS)
def test_bmp_with_bit_fields(bits, masks, header_bytes):
    pixels = bmp_pixels(11, 19, 13, bits)
    assert_same_or_both_refuse(
        bmp_file(
            19,
            13,
            bits,
            pixels,
            compression=3,
            header_bytes=header_bytes,
            masks=masks[:3] if header_bytes == 40 else masks,
        )
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
    compression=st.sampled_from([1, 2]),
    width=SIDES,
    height=SIDES,
    seed=SEEDS,
    grey=st.booleans(),
)
def test_bmp_with_run_lengths(codes, compression, width, height, seed, grey):
    palette = bytes(v for level in range(256) for v in (level,) * 3 + (0,))
    if not grey:
        palette = noise(seed, 256, 4).tobytes()
    # Enough of one colour behind the drawn codes that most images are complete.
    filled = b"".join(codes) + (b"\xff\x07" * (width // 255 + 1) + b"\0\0") * height
    bits = 8 if compression == 1 else 4
    palette = palette if bits == 8 else palette[:64]
    assert_same_or_both_refuse(
        bmp_file(width, height, bits, filled + b"\0\1", compression=compression, palette=palette)
    )


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


@EXAMPLES
@given(mode=st.sampled_from(["L", "P"]), width=SIDES, height=SIDES, seed=SEEDS, interlaced=st.booleans())
def test_gif_that_pillow_writes(mode, width, height, seed, interlaced):
    assert_same(gif_file(mode, width, height, seed, interlace=interlaced))


@EXAMPLES
@given(
    screen=st.tuples(SIDES, SIDES),
    box=st.tuples(st.integers(0, 9), st.integers(0, 9), SIDES, SIDES),
    seed=SEEDS,
    global_palette=st.integers(0, 8),
    local_palette=st.integers(0, 8),
    interlaced=st.booleans(),
    transparent=st.none() | st.integers(0, 255),
    background=st.integers(0, 255),
)
def test_gif_with_a_frame_anywhere(screen, box, seed, **options):
    assert_same(hand_made_gif(seed, screen, box, **options))


def test_animated_gif_gives_its_first_frame():
    others = [Image.fromarray(noise(seed, 20, 30)) for seed in (21, 22)]
    assert_same(gif_file("P", 30, 20, 20, save_all=True, append_images=others, loop=0))


@pytest.mark.parametrize("length", [3, 12, 100, 500, -200, -30, -3])
def test_gif_cut_off_is_taken_as_pillow_takes_it(length):
    assert_same_or_both_refuse(gif_file("P", 40, 30, 2)[:length])


# Every format with every mode that Pillow writes to it

WRITTEN = {
    "JPEG": ["L", "RGB", "CMYK"],
    "WEBP": ["L", "LA", "RGB", "RGBA", "P"],
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "GIF": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"],
}


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"quality": 30, "optimize": True}])
@pytest.mark.parametrize(("image_format", "mode"), [(name, mode) for name in WRITTEN for mode in WRITTEN[name]])
def test_every_format_in_every_mode(image_format, mode, options):
    image = Image.fromarray(noise(9, 41, 57, 4)).resize((90, 70), Image.Resampling.BICUBIC)
    image = image.convert("RGB" if mode in ("CMYK", "P", "1") else "L" if mode == "I;16" else mode).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    assert_same(buffer.getvalue())
