//! BMP to RGB8, pixel-equal to Pillow 12.1.1.
//!
//! Written here because no reader agrees with Pillow on every kind of BMP: which alpha layouts count, what a
//! grey palette turns into, and where a run-length code goes when it passes the end of its row.

use super::{ImageLimits, RgbImage, reserve, resize_image};
use crate::error::DecodeError;

const FORMAT: &str = "BMP";
pub(super) const SIGNATURE: &[u8] = b"BM";
/// Signature, file size, two reserved words and the place of the pixels.
const FILE_HEADER_BYTES: usize = 14;
/// The header of OS/2 1.x: 16-bit sizes and palette entries without padding.
const CORE_HEADER_BYTES: usize = 12;
/// Windows 3 to 5 and OS/2 2.x.
const INFO_HEADER_BYTES: [usize; 6] = [40, 52, 56, 64, 108, 124];

const RAW: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BIT_FIELDS: u32 = 3;

/// What follows a run length of zero, if it is not a count of literals.
const END_OF_ROW: u8 = 0;
const END_OF_IMAGE: u8 = 1;
const MOVE: u8 = 2;
/// The most pixels that one run-length code stands for.
const MAX_RUN_PIXELS: usize = 255;
/// Above this Pillow refuses, although only 256 can be indexed.
const MAX_COLOUR_COUNT: usize = 65_536;

#[derive(Debug)]
struct Header {
    width: usize,
    height: usize,
    top_down: bool,
    bits: u16,
    compression: u32,
    colour_count: usize,
    palette_entry_bytes: usize,
    /// Red, green, blue, alpha.
    masks: [u32; 4],
    /// Where the palette begins if there is one.
    header_end: usize,
    /// Where the pixels begin, as the file header says; 0 for "behind the palette".
    data_offset: usize,
}

/// How a row of pixels is stored.
enum Row {
    /// Indices of 1, 4 or 8 bits.
    Indices { bits: usize, colours: Box<[[u8; 3]; 256]> },
    /// 5 bits a channel.
    Rgb555,
    /// 5, 6 and 5 bits.
    Rgb565,
    /// 3 or 4 bytes a pixel, and where in them red, green and blue are.
    Bytes { pixel_bytes: usize, channels: [usize; 3] },
}

impl Row {
    fn bits_per_pixel(&self) -> usize {
        match self {
            Self::Indices { bits, .. } => *bits,
            Self::Rgb555 | Self::Rgb565 => 16,
            Self::Bytes { pixel_bytes, .. } => pixel_bytes * 8,
        }
    }

    fn write_rgb(&self, stored: &[u8], target: &mut [u8]) {
        let pixels = target.as_chunks_mut::<3>().0;
        match self {
            Self::Indices { bits, colours } => {
                let per_byte = 8 / bits;
                let mask = (1_usize << bits) - 1;
                for (group, byte) in pixels.chunks_mut(per_byte).zip(stored) {
                    for (position, pixel) in group.iter_mut().enumerate() {
                        let shift = 8 - bits * (position + 1);
                        *pixel = colours[usize::from(*byte) >> shift & mask];
                    }
                }
            }
            Self::Rgb555 => {
                for (pixel, word) in pixels.iter_mut().zip(stored.as_chunks().0) {
                    let word = u16::from_le_bytes(*word);
                    *pixel = [word >> 10, word >> 5, word].map(|channel| widen(channel, 31));
                }
            }
            Self::Rgb565 => {
                for (pixel, word) in pixels.iter_mut().zip(stored.as_chunks().0) {
                    let word = u16::from_le_bytes(*word);
                    *pixel = [widen(word >> 11, 31), widen(word >> 5, 63), widen(word, 31)];
                }
            }
            Self::Bytes { pixel_bytes, channels } => {
                for (pixel, bytes) in pixels.iter_mut().zip(stored.chunks_exact(*pixel_bytes)) {
                    *pixel = channels.map(|channel| bytes[channel]);
                }
            }
        }
    }
}

/// The low bits of `channel` under the mask `white`, scaled to 0..=255.
fn widen(channel: u16, white: u16) -> u8 {
    ((channel & white) * 255 / white) as u8
}

/// Width and height, from the header alone.
pub(super) fn dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    parse_header(bytes, limits).map(|header| (header.width, header.height))
}

/// Decodes the image to `out`.
pub(super) fn decode_rgb(bytes: &[u8], limits: &ImageLimits, out: &mut RgbImage) -> Result<(), DecodeError> {
    let header = parse_header(bytes, limits)?;
    let row = stored_row(bytes, &header)?;
    let data_offset = data_offset(&header);
    let stored = bytes.get(data_offset..).unwrap_or_default();
    let run_length = matches!(header.compression, RLE8 | RLE4);

    resize_image(out, header.width, header.height)?;
    if run_length {
        let indices = expand_runs(stored, data_offset, &header)?;
        return fill_rows(&row, &indices, header.width, header.top_down, out);
    }
    let row_bytes = (header.width * row.bits_per_pixel()).div_ceil(8);
    let stride = (header.width * usize::from(header.bits)).div_ceil(32) * 4;
    if row_bytes > stride {
        return Err(corrupt("a palette of grey levels that needs more bits than a pixel has"));
    }
    fill_rows(&row, stored, stride, header.top_down, out)
}

fn parse_header(bytes: &[u8], limits: &ImageLimits) -> Result<Header, DecodeError> {
    let header_bytes = le_u32(bytes, FILE_HEADER_BYTES)? as usize;
    let header_end = FILE_HEADER_BYTES + header_bytes;
    let at = |offset| le_u32(bytes, FILE_HEADER_BYTES + offset);
    let half_at = |offset| le_u16(bytes, FILE_HEADER_BYTES + offset);
    if header_bytes != CORE_HEADER_BYTES && !INFO_HEADER_BYTES.contains(&header_bytes) {
        return Err(unsupported(format!("a header of {header_bytes} bytes")));
    }
    if bytes.len() < header_end {
        return Err(truncated("the header is cut off"));
    }
    let mut header = Header {
        width: 0,
        height: 0,
        top_down: false,
        bits: 0,
        compression: RAW,
        colour_count: 0,
        palette_entry_bytes: 3,
        masks: [0; 4],
        header_end,
        data_offset: le_u32(bytes, 10)? as usize,
    };
    if header_bytes == CORE_HEADER_BYTES {
        (header.width, header.height) = (usize::from(half_at(4)?), usize::from(half_at(6)?));
        header.bits = half_at(10)?;
    } else {
        let height = at(8)?;
        // A negative height, of at most 24 bits, says that the first row is the top one.
        header.top_down = height >> 24 == 0xFF;
        header.height = if header.top_down { height.wrapping_neg() } else { height } as usize;
        header.width = at(4)? as usize;
        header.bits = half_at(14)?;
        header.compression = at(16)?;
        header.colour_count = at(32)? as usize;
        header.palette_entry_bytes = 4;
        if header.compression == BIT_FIELDS {
            let masks = if header_bytes == 40 || header_bytes >= 56 { 4 } else { 3 };
            for (index, mask) in header.masks.iter_mut().enumerate().take(masks) {
                // Behind a header of 40 bytes there are three masks, and no alpha.
                *mask = if header_bytes == 40 && index == 3 { 0 } else { at(40 + 4 * index)? };
            }
            if header_bytes == 40 {
                header.header_end += 12;
            }
        }
    }
    if header.width == 0 || header.height == 0 {
        return Err(corrupt(format!("the header says {}x{} pixels", header.width, header.height)));
    }
    limits.check(header.width, header.height)?;
    if header.colour_count == 0 && header.bits < 32 {
        header.colour_count = 1 << header.bits;
    }
    Ok(header)
}

fn stored_row(bytes: &[u8], header: &Header) -> Result<Row, DecodeError> {
    match (header.compression, header.bits) {
        (RAW | RLE8 | RLE4, 1 | 4 | 8) => palette_row(bytes, header),
        (RAW, 16) => Ok(Row::Rgb555),
        (RAW, 24) => Ok(Row::Bytes { pixel_bytes: 3, channels: [2, 1, 0] }),
        (RAW, 32) => Ok(Row::Bytes { pixel_bytes: 4, channels: [2, 1, 0] }),
        (RLE8 | RLE4, 16 | 24 | 32) => Err(corrupt("run-length codes without a palette")),
        (BIT_FIELDS, 16 | 24 | 32) => bit_field_row(header),
        (compression, 1 | 4 | 8 | 16 | 24 | 32) => Err(unsupported(format!("compression {compression}"))),
        (_, bits) => Err(unsupported(format!("{bits} bits a pixel"))),
    }
}

/// The bit fields that Pillow knows; the others it refuses.
fn bit_field_row(header: &Header) -> Result<Row, DecodeError> {
    let [red, green, blue, alpha] = header.masks;
    let bytes = |pixel_bytes, channels| Ok(Row::Bytes { pixel_bytes, channels });
    match (header.bits, [red, green, blue]) {
        (16, [0xF800, 0x7E0, 0x1F]) => return Ok(Row::Rgb565),
        (16, [0x7C00, 0x3E0, 0x1F]) => return Ok(Row::Rgb555),
        (24, [0xFF_0000, 0xFF00, 0xFF]) => return bytes(3, [2, 1, 0]),
        _ => {}
    }
    match (header.bits, [red, green, blue], alpha) {
        (32, [0xFF_0000, 0xFF00, 0xFF], 0 | 0xFF00_0000) => bytes(4, [2, 1, 0]),
        (32, [0xFF00_0000, 0xFF_0000, 0xFF00], 0 | 0xFF) => bytes(4, [3, 2, 1]),
        (32, [0xFF00_0000, 0xFF00, 0xFF], 0 | 0xFF_0000) => bytes(4, [3, 1, 0]),
        (32, [0xFF, 0xFF00, 0xFF_0000], 0xFF00_0000) => bytes(4, [0, 1, 2]),
        (32, [0, 0, 0], 0) => bytes(4, [2, 1, 0]),
        _ => Err(unsupported(format!("the bit fields {red:#x}, {green:#x}, {blue:#x}, {alpha:#x}"))),
    }
}

/// Reads the palette. One of plain grey levels is not looked up: as Pillow has it, the pixels are then levels
/// themselves, of one bit if there are two and of eight if there are more.
fn palette_row(bytes: &[u8], header: &Header) -> Result<Row, DecodeError> {
    let Header { colour_count, palette_entry_bytes, .. } = *header;
    if colour_count > MAX_COLOUR_COUNT {
        return Err(unsupported(format!("a palette of {colour_count} colours")));
    }
    let palette = bytes.get(header.header_end..).unwrap_or_default();
    let palette = &palette[..palette.len().min(palette_entry_bytes * colour_count)];
    let run_length = matches!(header.compression, RLE8 | RLE4);

    let level = |index: usize| if colour_count == 2 { index * 255 } else { index } as u8;
    let is_level = |index| {
        let entry = palette.get(palette_entry_bytes * index..).unwrap_or_default();
        entry.starts_with(&[level(index); 3])
    };
    if (0..colour_count).all(is_level) {
        return match (colour_count, run_length) {
            (2, true) => Err(corrupt("run-length codes for black and white")),
            (2, false) => Ok(Row::Indices { bits: 1, colours: Box::new(levels(level)) }),
            _ => Ok(Row::Indices { bits: 8, colours: Box::new(levels(level)) }),
        };
    }
    if palette.len() / palette_entry_bytes > 256 {
        return Err(corrupt("more than 256 palette entries"));
    }
    // An index that the palette does not reach is black.
    let mut colours = Box::new([[0; 3]; 256]);
    for (colour, entry) in colours.iter_mut().zip(palette.chunks_exact(palette_entry_bytes)) {
        *colour = [entry[2], entry[1], entry[0]];
    }
    let bits = if run_length { 8 } else { usize::from(header.bits) };
    Ok(Row::Indices { bits, colours })
}

fn levels(level: impl Fn(usize) -> u8) -> [[u8; 3]; 256] {
    std::array::from_fn(|index| [level(index); 3])
}

fn data_offset(header: &Header) -> usize {
    let Header { header_end, data_offset, bits, colour_count, palette_entry_bytes, .. } = *header;
    let palette_bytes = |entry_bytes| if bits <= 8 { entry_bytes * colour_count } else { 0 };
    if data_offset == 0 {
        header_end + palette_bytes(palette_entry_bytes)
    } else if data_offset == header_end {
        // Some writers leave the palette out of their count.
        data_offset + palette_bytes(4)
    } else {
        data_offset
    }
}

/// Run-length codes to one index a pixel, in the order of the file.
fn expand_runs(codes: &[u8], data_offset: usize, header: &Header) -> Result<Vec<u8>, DecodeError> {
    let (width, four_bits) = (header.width, header.compression == RLE4);
    let pixel_count = width * header.height;
    let mut indices = Vec::new();
    // The last code may go on behind the last pixel.
    reserve(&mut indices, pixel_count + MAX_RUN_PIXELS)?;
    let mut position = 0;
    // The column as Pillow counts it: it goes on past the end of a row until a code says otherwise.
    let mut column = 0;
    while indices.len() < pixel_count {
        let Some(&[count, value]) = codes.get(position..position + 2) else { break };
        position += 2;
        match (count, value) {
            (0, END_OF_ROW) => {
                indices.resize(indices.len().next_multiple_of(width), 0);
                column = 0;
            }
            (0, END_OF_IMAGE) => break,
            (0, MOVE) => {
                // Pillow reads the offsets behind two bytes that it drops.
                let Some(&[_, _, right, up]) = codes.get(position..position + 4) else { break };
                position += 4;
                let target = indices.len() + usize::from(right) + usize::from(up) * width;
                indices.resize(target.min(pixel_count), 0);
                column = indices.len() % width;
            }
            (0, literal_count) => {
                let byte_count = usize::from(if four_bits { literal_count / 2 } else { literal_count });
                let rest = codes.get(position..).unwrap_or_default();
                let literals = &rest[..byte_count.min(rest.len())];
                if four_bits {
                    indices.extend(literals.iter().flat_map(|pair| [pair >> 4, pair & 0xF]));
                } else {
                    indices.extend_from_slice(literals);
                }
                position += literals.len();
                if literals.len() < byte_count {
                    break;
                }
                column += usize::from(literal_count);
                // Codes begin at even places of the file.
                position += (data_offset + position) % 2;
            }
            (count, value) => {
                let count = usize::from(count).min(width.saturating_sub(column));
                let pair = if four_bits { [value >> 4, value & 0xF] } else { [value; 2] };
                indices.extend(pair.into_iter().cycle().take(count));
                column += count;
            }
        }
    }
    Ok(indices)
}

/// Converts the rows of `stored`, of which the last may lack its padding, to those of `out`.
fn fill_rows(
    row: &Row,
    stored: &[u8],
    stride: usize,
    top_down: bool,
    out: &mut RgbImage,
) -> Result<(), DecodeError> {
    let row_bytes = (out.width * row.bits_per_pixel()).div_ceil(8);
    let needed = stride * (out.height - 1) + row_bytes;
    if stored.len() < needed {
        return Err(truncated(format!("the pixels take {needed} bytes, {} are left", stored.len())));
    }
    for (index, target) in out.data.chunks_exact_mut(out.width * 3).enumerate() {
        let stored_index = if top_down { index } else { out.height - 1 - index };
        row.write_rgb(&stored[stored_index * stride..][..row_bytes], target);
    }
    Ok(())
}

fn le_u16(bytes: &[u8], offset: usize) -> Result<u16, DecodeError> {
    match bytes.get(offset..offset + 2) {
        Some(&[low, high]) => Ok(u16::from_le_bytes([low, high])),
        _ => Err(truncated("the header is cut off")),
    }
}

fn le_u32(bytes: &[u8], offset: usize) -> Result<u32, DecodeError> {
    Ok(u32::from(le_u16(bytes, offset)?) | u32::from(le_u16(bytes, offset + 2)?) << 16)
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
