//! Stored samples to RGB8, by the conversions of Pillow's modes.

use super::chunk::{JPEG, UNCOMPRESSED};
use super::{Directory, unsupported};
use crate::error::DecodeError;

/// Three colours and three samples that are none: the most that Pillow reads.
pub(super) const MAX_SAMPLES: usize = 6;

const WHITE_IS_ZERO: u16 = 0;
pub(super) const BLACK_IS_ZERO: u16 = 1;
pub(super) const RGB: u16 = 2;
const PALETTE: u16 = 3;
const CMYK: u16 = 5;
pub(super) const YCBCR: u16 = 6;

const UNSIGNED: u16 = 1;
const SIGNED: u16 = 2;
const FLOAT: u16 = 3;

/// What an extra sample is.
const UNSPECIFIED: u16 = 0;
const ASSOCIATED_ALPHA: u16 = 1;
const UNASSOCIATED_ALPHA: u16 = 2;
/// Written by a drawing program for unassociated alpha.
const COREL_ALPHA: u16 = 999;

/// How a pixel is stored. Samples of several bytes are little-endian here.
pub(super) enum Pixels {
    /// Grey or palette: 1, 2, 4 or 8 bits that stand for a colour; 8-bit ones may have a sample behind them.
    Indices {
        bits: usize,
        stride: usize,
        colours: Box<[[u8; 3]; 256]>,
    },
    /// Clipped to 0..=255, not scaled.
    Grey16,
    SignedGrey16,
    SignedGrey32,
    FloatGrey32,
    /// The high bytes count. Colours that were multiplied by alpha are divided by it.
    Rgb {
        sample_bytes: usize,
        stride: usize,
        associated_alpha: bool,
    },
    Cmyk {
        sample_bytes: usize,
        stride: usize,
    },
}

impl Pixels {
    /// The pixels of a directory, if they are of a kind that Pillow reads.
    pub(super) fn of(directory: &Directory) -> Result<Self, DecodeError> {
        let &Directory { photometric, bits, sample_format, samples, big_endian, .. } = directory;
        let extra = directory.extra_samples.as_slice();
        let sample_bytes = usize::from(bits / 8);
        let stride = sample_bytes * samples;
        let unknown = || {
            Err(unsupported(format!(
                "{samples} samples of {bits} bits, photometric interpretation {photometric}, sample format \
                 {sample_format}, extra samples {extra:?}"
            )))
        };
        let reversible =
            matches!((photometric, samples), (WHITE_IS_ZERO | BLACK_IS_ZERO | PALETTE, 1) | (RGB, 3));
        let reversible = reversible && bits <= 8 && sample_format == UNSIGNED && extra.is_empty();
        // Uncompressed ones are Pillow's to read, compressed ones libtiff's.
        let unread_by_pillow =
            directory.planar || photometric == PALETTE || photometric == WHITE_IS_ZERO && bits == 8;
        let reversible = reversible && !(unread_by_pillow && directory.compression == UNCOMPRESSED);
        if directory.reversed_bits && !reversible {
            return Err(unsupported("bits in reverse order"));
        }
        let pixels = match (photometric, bits, sample_format) {
            (WHITE_IS_ZERO | BLACK_IS_ZERO, 1 | 2 | 4 | 8, UNSIGNED) | (BLACK_IS_ZERO, 8, SIGNED)
                if samples == 1 && extra.is_empty() =>
            {
                let white = (1_usize << bits) - 1;
                let level = |sample: usize| (sample.min(white) * 255 / white) as u8;
                let grey =
                    |sample| if photometric == WHITE_IS_ZERO { 255 - level(sample) } else { level(sample) };
                let colours = Box::new(std::array::from_fn(|sample| [grey(sample); 3]));
                Self::Indices { bits: usize::from(bits), stride: 1, colours }
            }
            (BLACK_IS_ZERO, 8, UNSIGNED) if samples == 2 && extra == [UNASSOCIATED_ALPHA] => {
                let colours = Box::new(std::array::from_fn(|sample| [sample as u8; 3]));
                Self::Indices { bits: 8, stride, colours }
            }
            // White-is-zero 16-bit greys are not inverted, and big-endian ones not read, by Pillow.
            (BLACK_IS_ZERO, 16, UNSIGNED) if samples == 1 => Self::Grey16,
            (WHITE_IS_ZERO, 16, UNSIGNED) if samples == 1 && !big_endian => Self::Grey16,
            (BLACK_IS_ZERO, 16, SIGNED) if samples == 1 => Self::SignedGrey16,
            (BLACK_IS_ZERO, 32, SIGNED) if samples == 1 => Self::SignedGrey32,
            (BLACK_IS_ZERO, 32, UNSIGNED) if samples == 1 && !big_endian => Self::SignedGrey32,
            (WHITE_IS_ZERO | BLACK_IS_ZERO, 32, FLOAT) if samples == 1 => Self::FloatGrey32,
            (RGB, 8 | 16, UNSIGNED) => match extra {
                // In planes libtiff takes a fourth sample without a meaning for associated alpha.
                [] if samples == 3 || samples == 4 && !directory.planar => {
                    Self::Rgb { sample_bytes, stride, associated_alpha: false }
                }
                [first, rest @ ..]
                    if samples == 3 + extra.len() && rest.iter().all(|it| *it == UNSPECIFIED) =>
                {
                    let known = match *first {
                        UNSPECIFIED | ASSOCIATED_ALPHA | UNASSOCIATED_ALPHA => bits == 8 || rest.is_empty(),
                        COREL_ALPHA => bits == 8 && rest.is_empty(),
                        _ => false,
                    };
                    if !known {
                        return unknown();
                    }
                    Self::Rgb { sample_bytes, stride, associated_alpha: *first == ASSOCIATED_ALPHA }
                }
                _ => return unknown(),
            },
            (PALETTE, 1 | 2 | 4 | 8, UNSIGNED) => {
                let known = match extra {
                    [] => samples == 1,
                    [UNSPECIFIED | UNASSOCIATED_ALPHA] => samples == 2 && bits == 8,
                    _ => false,
                };
                if !known {
                    return unknown();
                }
                Self::Indices {
                    bits: usize::from(bits),
                    stride: samples,
                    colours: palette(&directory.colour_map)?,
                }
            }
            (CMYK, 8, UNSIGNED)
                if samples == 4 + extra.len() && extra.iter().all(|it| *it == UNSPECIFIED) =>
            {
                Self::Cmyk { sample_bytes, stride }
            }
            (CMYK, 16, UNSIGNED) if samples == 4 && extra.is_empty() => Self::Cmyk { sample_bytes, stride },
            // Uncompressed YCbCr of one sample is read as grey; of three it comes as JPEG, which gives RGB itself.
            (YCBCR, 8, UNSIGNED)
                if samples == 1 && extra.is_empty() && directory.compression == UNCOMPRESSED =>
            {
                let colours = Box::new(std::array::from_fn(|sample| [sample as u8; 3]));
                Self::Indices { bits: 8, stride, colours }
            }
            (YCBCR, 8, UNSIGNED) if samples == 3 && extra.is_empty() && directory.compression == JPEG => {
                Self::Rgb { sample_bytes, stride, associated_alpha: false }
            }
            _ => return unknown(),
        };
        let swapped = big_endian && directory.compression != UNCOMPRESSED;
        if swapped && matches!(pixels, Self::SignedGrey16 | Self::SignedGrey32 | Self::FloatGrey32) {
            return Err(unsupported(
                "compressed big-endian samples of a kind that Pillow reads in the wrong order",
            ));
        }
        if directory.planar {
            match pixels {
                // Pillow's own reader and libtiff put such planes together in different ways, or not at all.
                _ if !extra.is_empty() => return Err(unsupported("extra samples in planes")),
                Self::Rgb { sample_bytes: 2, .. } | Self::Cmyk { sample_bytes: 2, .. } => {
                    return Err(unsupported("16-bit samples in planes"));
                }
                _ => {}
            }
        }
        Ok(pixels)
    }

    /// Converts a row of samples; what it has more than `target` has pixels is left out.
    pub(super) fn write_rgb(&self, row: &[u8], target: &mut [u8]) {
        let pixels = target.as_chunks_mut::<3>().0;
        match self {
            Self::Indices { bits: 8, stride, colours } => {
                for (pixel, stored) in pixels.iter_mut().zip(row.chunks_exact(*stride)) {
                    *pixel = colours[usize::from(stored[0])];
                }
            }
            Self::Indices { bits, colours, .. } => {
                let mask = (1_usize << bits) - 1;
                for (group, byte) in pixels.chunks_mut(8 / bits).zip(row) {
                    for (position, pixel) in group.iter_mut().enumerate() {
                        *pixel = colours[usize::from(*byte) >> (8 - bits * (position + 1)) & mask];
                    }
                }
            }
            Self::Grey16 => grey(pixels, row, |stored| u16::from_le_bytes(stored).min(255) as u8),
            Self::SignedGrey16 => grey(pixels, row, |stored| i16::from_le_bytes(stored).clamp(0, 255) as u8),
            Self::SignedGrey32 => grey(pixels, row, |stored| i32::from_le_bytes(stored).clamp(0, 255) as u8),
            // The cast saturates, rounds to zero and makes NaN zero, as Pillow does.
            Self::FloatGrey32 => grey(pixels, row, |stored| f32::from_le_bytes(stored) as u8),
            Self::Rgb { sample_bytes, stride, associated_alpha } => {
                for (pixel, stored) in pixels.iter_mut().zip(row.chunks_exact(*stride)) {
                    let high = |sample: usize| stored[(sample + 1) * sample_bytes - 1];
                    *pixel = [high(0), high(1), high(2)];
                    if *associated_alpha {
                        let alpha = u16::from(high(3));
                        *pixel = pixel.map(|colour| undo_alpha(u16::from(colour), alpha));
                    }
                }
            }
            Self::Cmyk { sample_bytes, stride } => {
                for (pixel, stored) in pixels.iter_mut().zip(row.chunks_exact(*stride)) {
                    let high = |sample: usize| stored[(sample + 1) * sample_bytes - 1];
                    *pixel = [high(0), high(1), high(2)].map(|ink| without_ink(ink, high(3)));
                }
            }
        }
    }
}

fn grey<const SAMPLE_BYTES: usize>(
    pixels: &mut [[u8; 3]],
    row: &[u8],
    level: impl Fn([u8; SAMPLE_BYTES]) -> u8,
) {
    for (pixel, stored) in pixels.iter_mut().zip(row.as_chunks::<SAMPLE_BYTES>().0) {
        *pixel = [level(*stored); 3];
    }
}

fn undo_alpha(colour: u16, alpha: u16) -> u8 {
    (colour * 255).checked_div(alpha).unwrap_or(0).min(255) as u8
}

/// The light that a coloured ink leaves of what black ink leaves, with Pillow's rounding of a product of bytes.
fn without_ink(ink: u8, black: u8) -> u8 {
    let left = 255 - u16::from(black);
    let product = u32::from(ink) * u32::from(left) + 128;
    let absorbed = ((product >> 8) + product) >> 8;
    u32::from(left).saturating_sub(absorbed) as u8
}

/// A colour map holds all reds, then all greens, then all blues, in 16 bits of which the high ones count.
fn palette(colour_map: &[u16]) -> Result<Box<[[u8; 3]; 256]>, DecodeError> {
    let size = colour_map.len() / 3;
    if size == 0 || size > 256 {
        return Err(unsupported(format!("a colour map of {} numbers", colour_map.len())));
    }
    let mut colours = Box::new([[0; 3]; 256]);
    for (index, colour) in colours.iter_mut().enumerate().take(size) {
        *colour = [0, 1, 2].map(|channel| (colour_map[channel * size + index] >> 8) as u8);
    }
    Ok(colours)
}
