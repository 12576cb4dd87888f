//! The first frame of a GIF to RGB8, pixel-equal to Pillow 12.1.1.

use ::gif::{ColorOutput, DecodeOptions, DecodingError, Frame, MemoryLimit};

use super::{ImageLimits, RgbImage};
use crate::error::DecodeError;

const FORMAT: &str = "GIF";
pub(super) const SIGNATURES: [&[u8]; 2] = [b"GIF87a", b"GIF89a"];

/// Decodes the first frame of GIF files; keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub(super) struct GifDecoder {
    indices: Vec<u8>,
}

impl GifDecoder {
    /// Decodes the first frame, on a canvas of the size of the screen, to `out`.
    pub(super) fn decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let mut decoder = open(bytes)?;
        let global_palette = decoder.global_palette().map(<[u8]>::to_vec);
        let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
        let frame = decoder.next_frame_info().map_err(refused)?.ok_or_else(no_image)?.clone();
        let (width, height) = canvas(screen, &frame);
        let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
        if frame_width == 0 || frame_height == 0 {
            return Err(corrupt("the first frame is empty"));
        }
        limits.check(width, height)?;
        self.indices.resize(frame_width * frame_height, 0);
        decoder.read_into_buffer(&mut self.indices).map_err(refused)?;

        let colours = colours(frame.palette.as_deref().or(global_palette.as_deref()));
        // Around a frame that does not fill the screen lies its transparent colour, or else the first one.
        let around = colours[usize::from(frame.transparent.unwrap_or(0))];
        (out.width, out.height) = (width, height);
        out.data.resize(width * height * 3, 0);
        if (frame_width, frame_height) != (width, height) {
            out.data.as_chunks_mut::<3>().0.fill(around);
        }
        let (left, top) = (usize::from(frame.left), usize::from(frame.top));
        let target_rows = out.data.chunks_exact_mut(width * 3).skip(top);
        for (indices, target) in self.indices.chunks_exact(frame_width).zip(target_rows) {
            let target = &mut target[left * 3..][..frame_width * 3];
            for (pixel, index) in target.as_chunks_mut::<3>().0.iter_mut().zip(indices) {
                *pixel = colours[usize::from(*index)];
            }
        }
        Ok(())
    }
}

/// Width and height of the canvas, from the headers of the screen and its first frame.
pub(super) fn dimensions(bytes: &[u8], limits: &ImageLimits) -> Result<(usize, usize), DecodeError> {
    let mut decoder = open(bytes)?;
    let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
    let frame = decoder.next_frame_info().map_err(refused)?.ok_or_else(no_image)?;
    let (width, height) = canvas(screen, frame);
    limits.check(width, height)?;
    Ok((width, height))
}

fn open(bytes: &[u8]) -> Result<::gif::Decoder<&[u8]>, DecodeError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // The limits on the image's size are held before its buffer is made; the crate makes none of its own.
    options.set_memory_limit(MemoryLimit::Unlimited);
    options.read_info(bytes).map_err(refused)
}

/// A frame that reaches over its screen makes the screen larger.
fn canvas(screen: (usize, usize), frame: &Frame<'_>) -> (usize, usize) {
    let right = usize::from(frame.left) + usize::from(frame.width);
    let bottom = usize::from(frame.top) + usize::from(frame.height);
    (screen.0.max(right), screen.1.max(bottom))
}

/// The colour of every index: without a palette that is a grey level, beyond a palette's end black.
fn colours(palette: Option<&[u8]>) -> [[u8; 3]; 256] {
    let Some(palette) = palette else {
        return std::array::from_fn(|index| [index as u8; 3]);
    };
    let mut colours = [[0; 3]; 256];
    for (colour, entry) in colours.iter_mut().zip(palette.as_chunks().0) {
        *colour = *entry;
    }
    colours
}

fn no_image() -> DecodeError {
    corrupt("there is no image in it")
}

fn refused(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::Io(_) | DecodingError::UnexpectedEof => DecodeError::Truncated {
            format: FORMAT,
            reason: "the image data ends before the last row".into(),
        },
        error => corrupt(error.to_string()),
    }
}

fn corrupt(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.into() }
}
