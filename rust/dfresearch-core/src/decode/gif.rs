//! The first frame of a GIF to RGB8, pixel-equal to Pillow 12.1.1.
//!
//! ```text
//!  signature │ screen │ global palette │ extensions … │ frame │ local palette │ LZW in blocks │ more frames …
//!              size     if there is     transparent     box,    goes before     up to its
//!                                       index           order   the global one  last pixel
//! ```

use weezl::{BitOrder, LzwStatus};

use super::{ImageLimits, RgbImage, resize_buffer, resize_image};
use crate::error::DecodeError;

const FORMAT: &str = "GIF";
pub(super) const SIGNATURES: [&[u8]; 2] = [b"GIF87a", b"GIF89a"];
const SCREEN_HEADER_BYTES: usize = 13;
const FRAME_HEADER_BYTES: usize = 9;

const EXTENSION: u8 = b'!';
const FRAME: u8 = b',';
const TRAILER: u8 = b';';
const GRAPHIC_CONTROL: u8 = 0xF9;

/// In the flags of the screen and of a frame.
const HAS_PALETTE: u8 = 0x80;
const INTERLACED: u8 = 0x40;
/// In the flags of a graphic control extension.
const HAS_TRANSPARENT_INDEX: u8 = 1;
const MAX_INDEX_BITS: u8 = 8;

/// First row and row step of the passes of an interlaced frame.
const PASSES: [(usize, usize); 4] = [(0, 8), (4, 8), (2, 4), (1, 2)];

/// What lies in front of the first frame's pixels.
struct FirstFrame<'a> {
    /// Of the canvas, which holds the screen and the frame.
    width: usize,
    height: usize,
    left: usize,
    top: usize,
    frame_width: usize,
    frame_height: usize,
    interlaced: bool,
    transparent: Option<u8>,
    palette: Option<&'a [u8]>,
    index_bits: u8,
    blocks: &'a [u8],
}

/// Decodes the first frame of GIF files; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct GifDecoder {
    codes: Vec<u8>,
    indices: Vec<u8>,
}

impl GifDecoder {
    pub(super) fn scratch(&mut self) -> [&mut Vec<u8>; 2] {
        [&mut self.codes, &mut self.indices]
    }

    /// Decodes the first frame, on a canvas of the size of the screen, to `out`.
    pub(super) fn decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let frame = first_frame(bytes, limits)?;
        resize_buffer(&mut self.indices, frame.frame_width * frame.frame_height)?;
        self.expand(&frame)?;

        let colours = colours(frame.palette);
        let FirstFrame { width, height, left, top, frame_width, frame_height, .. } = frame;
        resize_image(out, width, height)?;
        if (frame_width, frame_height) != (width, height) {
            // Around a frame that does not fill the canvas lies its transparent colour, or else the first one.
            let around = colours[usize::from(frame.transparent.unwrap_or(0))];
            out.data.as_chunks_mut::<3>().0.fill(around);
        }
        let passes: &[(usize, usize)] = if frame.interlaced { &PASSES } else { &[(0, 1)] };
        let rows = passes.iter().flat_map(|(first, step)| (*first..frame_height).step_by(*step));
        for (row, indices) in rows.zip(self.indices.chunks_exact(frame_width)) {
            let target = &mut out.data[((top + row) * width + left) * 3..][..frame_width * 3];
            for (pixel, index) in target.as_chunks_mut::<3>().0.iter_mut().zip(indices) {
                *pixel = colours[usize::from(*index)];
            }
        }
        Ok(())
    }

    /// Expands the LZW codes to `self.indices`. As Pillow does, it takes whole blocks, and no more of them than
    /// the frame needs.
    fn expand(&mut self, frame: &FirstFrame<'_>) -> Result<(), DecodeError> {
        self.codes.clear();
        let mut blocks = frame.blocks;
        while let Some((block, rest)) = next_block(blocks) {
            let bytes = self.codes.len() + block.len();
            self.codes.try_reserve(block.len()).map_err(|_| DecodeError::OutOfMemory { bytes })?;
            self.codes.extend_from_slice(block);
            blocks = rest;
        }
        let mut decoder = weezl::decode::Decoder::new(BitOrder::Lsb, frame.index_bits);
        let (mut consumed, mut filled) = (0, 0);
        while filled < self.indices.len() {
            let result = decoder.decode_bytes(&self.codes[consumed..], &mut self.indices[filled..]);
            consumed += result.consumed_in;
            filled += result.consumed_out;
            match result.status {
                Ok(LzwStatus::Ok) => {}
                Ok(LzwStatus::NoProgress | LzwStatus::Done) => break,
                Err(error) => return Err(corrupt(error.to_string())),
            }
        }
        let wanted = self.indices.len();
        if filled < wanted {
            return Err(truncated(format!("the image data hold {filled} of {wanted} pixels")));
        }
        Ok(())
    }
}

/// Width and height of the canvas, from the headers of the screen and its first frame.
pub(super) fn dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    first_frame(bytes, limits).map(|frame| (frame.width, frame.height))
}

fn first_frame<'a>(bytes: &'a [u8], limits: &ImageLimits) -> Result<FirstFrame<'a>, DecodeError> {
    let mut rest = bytes;
    let screen = take(&mut rest, SCREEN_HEADER_BYTES)?;
    let global_palette = take_palette(&mut rest, screen[10])?;
    let mut transparent = None;
    loop {
        match take(&mut rest, 1).map_err(|_| truncated("there is no frame"))? {
            [EXTENSION] => {
                let label = take(&mut rest, 1)?[0];
                let first = next_block(rest).map(|(block, _)| block);
                if let (GRAPHIC_CONTROL, Some(&[flags, _, _, index, ..])) = (label, first)
                    && flags & HAS_TRANSPARENT_INDEX != 0
                {
                    transparent = Some(index);
                }
                while let Some((_, behind)) = next_block(rest) {
                    rest = behind;
                }
                // The block of no bytes that ends the extension.
                take(&mut rest, 1)?;
            }
            [FRAME] => break,
            [TRAILER] => return Err(corrupt("there is no frame")),
            // Pillow passes over whatever else lies between the blocks.
            _ => {}
        }
    }
    let frame = take(&mut rest, FRAME_HEADER_BYTES)?;
    let local_palette = take_palette(&mut rest, frame[8])?;
    let index_bits = take(&mut rest, 1)?[0];

    let [left, top, frame_width, frame_height] = [0, 2, 4, 6].map(|offset| le_u16(frame, offset));
    // A frame that reaches over its screen makes the canvas larger.
    let width = le_u16(screen, 6).max(left + frame_width);
    let height = le_u16(screen, 8).max(top + frame_height);
    if frame_width == 0 || frame_height == 0 {
        return Err(corrupt("the first frame is empty"));
    }
    if index_bits > MAX_INDEX_BITS {
        return Err(corrupt(format!("indices of {index_bits} bits")));
    }
    limits.check(width, height)?;
    Ok(FirstFrame {
        width,
        height,
        left,
        top,
        frame_width,
        frame_height,
        interlaced: frame[8] & INTERLACED != 0,
        transparent,
        palette: local_palette.or(global_palette),
        index_bits,
        blocks: rest,
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, behind) = rest.split_at_checked(count).ok_or_else(|| truncated("the header is cut off"))?;
    *rest = behind;
    Ok(taken)
}

fn take_palette<'a>(rest: &mut &'a [u8], flags: u8) -> Result<Option<&'a [u8]>, DecodeError> {
    if flags & HAS_PALETTE == 0 {
        return Ok(None);
    }
    take(rest, 3 << ((flags & 7) + 1)).map(Some)
}

/// The next block of at least one byte, if it is there as a whole, and what lies behind it.
fn next_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    if *length == 0 { None } else { rest.split_at_checked(usize::from(*length)) }
}

/// The colour of every index: without a palette that is a grey level, beyond a palette's end black.
fn colours(palette: Option<&[u8]>) -> [[u8; 3]; 256] {
    let levels = std::array::from_fn(|index| [index as u8; 3]);
    let Some(palette) = palette else {
        return levels;
    };
    let entries = palette.as_chunks().0;
    // Pillow takes the indices themselves for levels where the palette says nothing else, as far as it goes.
    if entries.iter().zip(&levels).all(|(entry, level)| entry == level) {
        return levels;
    }
    let mut colours = [[0; 3]; 256];
    colours[..entries.len()].copy_from_slice(entries);
    colours
}

fn le_u16(bytes: &[u8], offset: usize) -> usize {
    usize::from(bytes[offset]) | usize::from(bytes[offset + 1]) << 8
}

fn truncated(reason: impl Into<String>) -> DecodeError {
    DecodeError::Truncated { format: FORMAT, reason: reason.into() }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.into() }
}
