//! PNG to RGB8, pixel-equal to Pillow 12.1.1.
//!
//! The chunks are walked here, the image data is decoded by the `png` crate, or, where it is of the usual kind, in
//! [`rows`], which undoes filters faster:
//!
//! ```text
//!  file   ▕ signature ▏IHDR▕ PLTE ▏iCCP zTXt eXIf …▕ IDAT ▏IDAT▕ IDAT ▏tIME▕ IEND ▏
//!               checked    kept      CRC only         │      │      │   skipped
//!  crate  ▕ signature ▏IHDR'▕ IDAT' = ────────────────┴──────┴──────┘ ▏IEND'▕
//! ```
//!
//! So nothing but pixels can break or slow a decode, no chunk is copied, and what is refused is what Pillow
//! refuses: a wrong checksum before the image data is an error, one behind it is not; a missing IEND is not.
//!
//! Two differences are meant. Broken or very large texts, profiles and other metadata are no reason to refuse
//! pixels here. And an image whose data end properly but before its last row is refused: Pillow fills it up
//! with black.

#[cfg(target_arch = "x86_64")]
mod rows;
mod stream;
#[cfg(target_arch = "x86_64")]
mod unfilter;

#[cfg(target_arch = "x86_64")]
use rows::RowDecoder;
#[cfg(not(target_arch = "x86_64"))]
use stream::RowDecoder;

use super::{ImageLimits, RgbImage, resize_buffer, resize_image};
use crate::error::DecodeError;

const FORMAT: &str = "PNG";
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Length and kind before a chunk's content.
const CHUNK_HEADER_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 4;
const MAX_PALETTE_SIZE: usize = 256;
/// `fdAT` is `IDAT` behind a sequence number.
const SEQUENCE_NUMBER_BYTES: usize = 4;

/// How the samples of a pixel are stored, before they become RGB8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// 1, 2, 4 or 8 bits of grey.
    Grey,
    /// 16 bits of grey: Pillow clips these to 255, where it takes the high byte of any other 16-bit sample.
    Grey16,
    GreyAlpha,
    Rgb,
    Rgba,
    Palette,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    width: usize,
    height: usize,
    bit_depth: u8,
    layout: Layout,
    interlaced: bool,
}

/// The place of the first image on its canvas: all of it, except for an animation's first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// What a walk over the chunks finds.
struct Chunks<'a> {
    header: Header,
    palette: &'a [u8],
    region: Region,
    /// From the header of the first chunk of image data on.
    image_data: &'a [u8],
    /// The file ends before its IEND.
    cut_off: bool,
}

/// Decodes PNG files; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct PngDecoder {
    samples: Vec<u8>,
    rows: RowDecoder,
}

impl PngDecoder {
    pub(super) fn scratch(&mut self) -> [&mut Vec<u8>; 1] {
        [&mut self.samples]
    }

    /// Decodes the image, or an animation's first frame, to `out`.
    pub(super) fn decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let chunks = walk(bytes, limits)?;
        let Header { width, height, layout, bit_depth, .. } = chunks.header;
        let Region { left, top, width: region_width, height: region_height } = chunks.region;
        let whole = (region_width, region_height) == (width, height);
        if !whole && chunks.header.interlaced {
            return Err(unsupported("an interlaced animation whose first frame is smaller than its canvas"));
        }
        resize_image(out, width, height)?;
        if whole && layout == Layout::Rgb && bit_depth == 8 {
            return self.rows.decode_samples(&chunks, &mut out.data);
        }

        let row_bytes = row_bytes(&chunks.header, region_width);
        if chunks.header.interlaced && bit_depth < 8 {
            // The crate sets the bits of pixels that share a byte one by one, and clears none.
            self.samples.clear();
        }
        resize_buffer(&mut self.samples, row_bytes * region_height)?;
        self.rows.decode_samples(&chunks, &mut self.samples)?;
        let colours = match layout {
            Layout::Palette => palette_colours(chunks.palette),
            _ => grey_levels(bit_depth),
        };
        if !whole {
            // Around a smaller first frame all samples are zero.
            out.data.as_chunks_mut::<3>().0.fill(colours[0]);
        }
        let target_rows = out.data.chunks_exact_mut(width * 3).skip(top);
        for (samples, target) in self.samples.chunks_exact(row_bytes).zip(target_rows) {
            let target = &mut target[left * 3..][..region_width * 3];
            row_to_rgb(samples, layout, bit_depth, &colours, target);
        }
        Ok(())
    }
}

/// Width and height, from the header alone.
pub(super) fn dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    let mut rest = bytes.get(SIGNATURE.len()..).ok_or_else(|| truncated("the signature is cut off"))?;
    while let Some((kind, content, behind)) = next_chunk(rest)? {
        let content = content.map_err(|missing| chunk_cut_off(kind, missing))?;
        if kind == b"IHDR" {
            check_sum(kind, content, behind)?;
            return parse_header(content, limits).map(|header| (header.width, header.height));
        }
        rest = behind.get(CHECKSUM_BYTES..).unwrap_or_default();
    }
    Err(truncated("there is no header"))
}

fn walk<'a>(bytes: &'a [u8], limits: &ImageLimits) -> Result<Chunks<'a>, DecodeError> {
    let mut rest = bytes.get(SIGNATURE.len()..).ok_or_else(|| truncated("the signature is cut off"))?;
    let mut header = None;
    let mut palette: &[u8] = &[];
    let mut region = None;
    loop {
        let Some((kind, content, behind)) = next_chunk(rest)? else {
            return Err(truncated("there is no image data"));
        };
        if matches!(kind, b"IDAT" | b"fdAT") {
            break;
        }
        let content = content.map_err(|missing| chunk_cut_off(kind, missing))?;
        check_sum(kind, content, behind)?;
        match kind {
            b"IHDR" => header = Some(parse_header(content, limits)?),
            b"PLTE" if content.len() / 3 > MAX_PALETTE_SIZE => {
                return Err(corrupt("more than 256 palette entries"));
            }
            b"PLTE" => palette = content,
            b"fcTL" => region = Some(parse_frame(content)?),
            b"IEND" => return Err(corrupt("there is no image data")),
            _ => {}
        }
        rest = behind.get(CHECKSUM_BYTES..).unwrap_or_default();
    }

    let header: Header = header.ok_or_else(|| corrupt("image data before the header"))?;
    let canvas = Region { left: 0, top: 0, width: header.width, height: header.height };
    let region = region.unwrap_or(canvas);
    if region.left + region.width > header.width || region.top + region.height > header.height {
        return Err(corrupt("the first frame reaches over the canvas"));
    }

    let image_data = rest;
    let mut cut_off = false;
    while let Some(part) = next_image_part(rest) {
        cut_off |= part.is_cut_off;
        rest = part.behind;
    }
    cut_off |= check_trailing_chunks(rest)?;
    Ok(Chunks { header, palette: &palette[..palette.len() / 3 * 3], region, image_data, cut_off })
}

/// A part of the image data.
struct ImagePart<'a> {
    /// As much of it as there is.
    content: &'a [u8],
    is_cut_off: bool,
    /// What lies behind its chunk.
    behind: &'a [u8],
}

/// The next part of the image data.
///
/// Image data is one run of chunks; Pillow takes nothing from behind it either.
fn next_image_part(bytes: &[u8]) -> Option<ImagePart<'_>> {
    let (kind, content, behind) = next_chunk(bytes).ok().flatten()?;
    let skipped = match kind {
        b"IDAT" => 0,
        b"fdAT" => SEQUENCE_NUMBER_BYTES,
        _ => return None,
    };
    let is_cut_off = content.is_err();
    let content = content.unwrap_or_else(|missing| missing.present);
    Some(ImagePart {
        content: content.get(skipped..).unwrap_or_default(),
        is_cut_off,
        behind: behind.get(CHECKSUM_BYTES..).unwrap_or_default(),
    })
}

impl<'a> Chunks<'a> {
    /// The parts of the zlib stream.
    fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.image_data;
        std::iter::from_fn(move || {
            let part = next_image_part(rest)?;
            rest = part.behind;
            Some(part.content)
        })
    }
}

/// Whether the file ends before IEND, which is no error unless it ends within a chunk.
fn check_trailing_chunks(mut rest: &[u8]) -> Result<bool, DecodeError> {
    while let Ok(Some((kind, content, behind))) = next_chunk(rest) {
        // An animation's next frame: what follows is not read.
        if matches!(kind, b"IEND" | b"fcTL") {
            return Ok(false);
        }
        content.map_err(|missing| chunk_cut_off(kind, missing))?;
        rest = behind.get(CHECKSUM_BYTES..).unwrap_or_default();
    }
    Ok(true)
}

/// A chunk that announces more bytes than the file has left.
struct Missing<'a> {
    announced: usize,
    present: &'a [u8],
}

type Chunk<'a> = (&'a [u8], Result<&'a [u8], Missing<'a>>, &'a [u8]);

/// Kind and content of the next chunk, and what lies behind its content; `None` at the end of the file.
fn next_chunk(bytes: &[u8]) -> Result<Option<Chunk<'_>>, DecodeError> {
    let Some((chunk_header, rest)) = bytes.split_at_checked(CHUNK_HEADER_BYTES) else {
        return Ok(None);
    };
    let (length, kind) = chunk_header.split_at(4);
    if !kind.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return Err(corrupt(format!("a chunk is named \"{}\"", kind.escape_ascii())));
    }
    let announced = be_u32(length, 0);
    Ok(Some(match rest.split_at_checked(announced) {
        Some((content, behind)) => (kind, Ok(content), behind),
        None => (kind, Err(Missing { announced, present: rest }), &[]),
    }))
}

fn check_sum(kind: &[u8], content: &[u8], behind: &[u8]) -> Result<(), DecodeError> {
    let name = kind.escape_ascii();
    let stored = behind.get(..CHECKSUM_BYTES).ok_or_else(|| truncated(format!("{name} has no checksum")))?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind);
    hasher.update(content);
    if hasher.finalize() as usize != be_u32(stored, 0) {
        return Err(corrupt(format!("the checksum of {name} does not match")));
    }
    Ok(())
}

fn parse_header(content: &[u8], limits: &ImageLimits) -> Result<Header, DecodeError> {
    let &[_, _, _, _, _, _, _, _, bit_depth, colour_type, _compression, filter, interlace, ..] = content
    else {
        return Err(corrupt("IHDR is shorter than 13 bytes"));
    };
    let (width, height) = (be_u32(content, 0), be_u32(content, 4));
    let layout = match (colour_type, bit_depth) {
        (0, 1 | 2 | 4 | 8) => Layout::Grey,
        (0, 16) => Layout::Grey16,
        (2, 8 | 16) => Layout::Rgb,
        (3, 1 | 2 | 4 | 8) => Layout::Palette,
        (4, 8 | 16) => Layout::GreyAlpha,
        (6, 8 | 16) => Layout::Rgba,
        _ => return Err(corrupt(format!("colour type {colour_type} at {bit_depth} bits does not exist"))),
    };
    if filter != 0 {
        return Err(corrupt(format!("filter method {filter} does not exist")));
    }
    if width == 0 || height == 0 {
        return Err(corrupt(format!("the header says {width}x{height} pixels")));
    }
    limits.check(width, height)?;
    Ok(Header { width, height, bit_depth, layout, interlaced: interlace != 0 })
}

fn parse_frame(content: &[u8]) -> Result<Region, DecodeError> {
    if content.len() < 26 {
        return Err(corrupt("fcTL is shorter than 26 bytes"));
    }
    let [width, height, left, top] = [4, 8, 12, 16].map(|offset| be_u32(content, offset));
    if width == 0 || height == 0 {
        return Err(corrupt("the first frame is empty"));
    }
    Ok(Region { left, top, width, height })
}

fn row_bytes(header: &Header, width: usize) -> usize {
    let samples = match header.layout {
        Layout::Grey | Layout::Grey16 | Layout::Palette => 1,
        Layout::GreyAlpha => 2,
        Layout::Rgb => 3,
        Layout::Rgba => 4,
    };
    (width * samples * usize::from(header.bit_depth)).div_ceil(8)
}

/// The colour of every index; one that the palette does not reach is black.
fn palette_colours(palette: &[u8]) -> [[u8; 3]; 256] {
    let mut colours = [[0; 3]; 256];
    for (colour, entry) in colours.iter_mut().zip(palette.chunks_exact(3)) {
        colour.copy_from_slice(entry);
    }
    colours
}

/// The colour of every grey sample of up to 8 bits: white is 255 at any depth.
fn grey_levels(bit_depth: u8) -> [[u8; 3]; 256] {
    let white = (1_usize << bit_depth.min(8)) - 1;
    std::array::from_fn(|sample| [(sample.min(white) * 255 / white) as u8; 3])
}

fn row_to_rgb(samples: &[u8], layout: Layout, bit_depth: u8, colours: &[[u8; 3]; 256], target: &mut [u8]) {
    let pixels = target.as_chunks_mut::<3>().0;
    match (layout, bit_depth) {
        (Layout::Grey | Layout::Palette, 8) => {
            for (pixel, sample) in pixels.iter_mut().zip(samples) {
                *pixel = colours[usize::from(*sample)];
            }
        }
        (Layout::Grey | Layout::Palette, _) => {
            let per_byte = usize::from(8 / bit_depth);
            let mask = (1_u8 << bit_depth) - 1;
            for (group, byte) in pixels.chunks_mut(per_byte).zip(samples) {
                for (position, pixel) in group.iter_mut().enumerate() {
                    let shift = 8 - bit_depth * (position as u8 + 1);
                    *pixel = colours[usize::from((byte >> shift) & mask)];
                }
            }
        }
        (Layout::Grey16, _) => {
            for (pixel, [high, low]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [if *high == 0 { *low } else { u8::MAX }; 3];
            }
        }
        (Layout::GreyAlpha, 8) => {
            for (pixel, [grey, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [*grey; 3];
            }
        }
        (Layout::GreyAlpha, _) => {
            for (pixel, [grey, _, _, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [*grey; 3];
            }
        }
        (Layout::Rgb, 8) => target.copy_from_slice(samples),
        (Layout::Rgb, _) => {
            for (pixel, [red, _, green, _, blue, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [*red, *green, *blue];
            }
        }
        (Layout::Rgba, 8) => {
            for (pixel, [red, green, blue, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [*red, *green, *blue];
            }
        }
        (Layout::Rgba, _) => {
            for (pixel, [red, _, green, _, blue, _, _, _]) in pixels.iter_mut().zip(samples.as_chunks().0) {
                *pixel = [*red, *green, *blue];
            }
        }
    }
}

/// The big-endian number at `offset`, which the caller knows to be there.
fn be_u32(bytes: &[u8], offset: usize) -> usize {
    bytes[offset..offset + 4].iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn chunk_cut_off(kind: &[u8], missing: Missing<'_>) -> DecodeError {
    let Missing { announced, present } = missing;
    truncated(format!("{} announces {announced} bytes, {} are left", kind.escape_ascii(), present.len()))
}

fn truncated(reason: impl Into<String>) -> DecodeError {
    DecodeError::Truncated { format: FORMAT, reason: reason.into() }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.into() }
}

fn unsupported(reason: impl Into<String>) -> DecodeError {
    DecodeError::Unsupported { format: FORMAT, reason: reason.into() }
}
