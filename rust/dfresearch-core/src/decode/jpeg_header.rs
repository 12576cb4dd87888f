//! What a JPEG says about itself before its first scan, read by Pillow's rules for which files it opens at all.

use crate::decode::ImageLimits;
use crate::error::DecodeError;

const FORMAT: &str = "JPEG";

/// The facts in front of the first scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JpegHeader<'bytes> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey), 3 (colour) or 4 (CMYK).
    pub components: usize,
    /// The last comment, which Pillow keeps when it saves the image again.
    pub comment: &'bytes [u8],
}

impl<'bytes> JpegHeader<'bytes> {
    /// Reads the segments in front of the first scan, and checks the size against the limits.
    ///
    /// # Errors
    /// As Pillow: the data do not begin with a marker after the start of the image, end before the first scan,
    /// have no frame header, are not 8 bits deep, or have a number of components other than 1, 3 or 4; and
    /// [`DecodeError::TooLarge`].
    pub fn read(bytes: &'bytes [u8], limits: &ImageLimits) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        if !bytes.starts_with(&[0xff, marker::START_OF_IMAGE, 0xff]) {
            return Err(corrupt("it does not begin with FF D8 FF"));
        }
        let mut frame = None;
        let mut comment: &[u8] = &[];
        let mut at = 2;
        loop {
            let code = next_marker(bytes, &mut at)?;
            if !has_segment(code)? {
                continue;
            }
            let segment = read_segment(bytes, &mut at)?;
            match code {
                marker::COMMENT => comment = segment,
                marker::START_OF_SCAN => break,
                code if marker::is_frame(code) => frame = Some(read_frame(segment)?),
                code => check_application_segment(code, segment)?,
            }
        }
        let (width, height, components) =
            frame.ok_or_else(|| corrupt("there is no frame header in front of the first scan"))?;
        limits.check(width, height)?;
        Ok(Self { width, height, components, comment })
    }
}

mod marker {
    pub const START_OF_IMAGE: u8 = 0xd8;
    pub const START_OF_SCAN: u8 = 0xda;
    pub const HIERARCHICAL_PROGRESSION: u8 = 0xde;
    pub const COMMENT: u8 = 0xfe;

    /// SOF0 to SOF15 without DHT, JPG and DAC, which lie between them; DHP has the same content.
    pub fn is_frame(code: u8) -> bool {
        matches!(code, 0xc0..=0xcf) && !matches!(code, 0xc4 | 0xc8 | 0xcc) || code == HIERARCHICAL_PROGRESSION
    }
}

fn corrupt(reason: &str) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.to_owned() }
}

fn truncated() -> DecodeError {
    DecodeError::Truncated { format: FORMAT, reason: "the data end in front of the first scan".to_owned() }
}

/// The code of the next marker; junk, padding and escaped FF bytes in front of it are passed over.
fn next_marker(bytes: &[u8], at: &mut usize) -> Result<u8, DecodeError> {
    loop {
        let start = bytes[*at..].iter().position(|&byte| byte == 0xff).ok_or_else(truncated)? + *at;
        let code = bytes[start..].iter().position(|&byte| byte != 0xff).ok_or_else(truncated)? + start;
        *at = code + 1;
        if bytes[code] != 0 {
            return Ok(bytes[code]);
        }
    }
}

/// Whether a segment with a length follows the marker.
fn has_segment(code: u8) -> Result<bool, DecodeError> {
    match code {
        0x01..=0xbf => Err(corrupt(&format!("unknown marker FF {code:02X}"))),
        // JPG, RST0 to RST7, SOI, EOI, JPG0 to JPG13
        0xc8 | 0xd0..=0xd9 | 0xf0..=0xfd | 0x00 | 0xff => Ok(false),
        _ => Ok(true),
    }
}

/// The content of a segment; a length too short for itself counts as no content.
fn read_segment<'bytes>(bytes: &'bytes [u8], at: &mut usize) -> Result<&'bytes [u8], DecodeError> {
    let length = bytes.get(*at..*at + 2).ok_or_else(truncated)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]])).max(2);
    let segment = bytes.get(*at + 2..*at + length).ok_or_else(truncated)?;
    *at += length;
    Ok(segment)
}

fn read_frame(segment: &[u8]) -> Result<(usize, usize, usize), DecodeError> {
    let &[depth, height_high, height_low, width_high, width_low, components, ..] = segment else {
        return Err(corrupt("the frame header is too short"));
    };
    let height = usize::from(u16::from_be_bytes([height_high, height_low]));
    let width = usize::from(u16::from_be_bytes([width_high, width_low]));
    let unsupported = |reason| DecodeError::Unsupported { format: FORMAT, reason };
    if depth != 8 {
        return Err(unsupported(format!("{depth} bits a sample (8 are read)")));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(unsupported(format!("{components} components (1, 3 or 4 are read)")));
    }
    if width == 0 || height == 0 {
        return Err(corrupt(&format!("{width}x{height} pixels")));
    }
    Ok((width, height, usize::from(components)))
}

/// Pillow refuses files whose application segments end inside the few bytes that it always reads.
fn check_application_segment(code: u8, segment: &[u8]) -> Result<(), DecodeError> {
    let (name, shortest) = match code {
        0xe0 if segment.starts_with(b"JFIF") => ("JFIF", 7),
        0xe2 if segment.starts_with(b"ICC_PROFILE\0") => ("ICC", 14),
        0xee if segment.starts_with(b"Adobe") => ("Adobe", 7),
        _ => return Ok(()),
    };
    if segment.len() < shortest {
        return Err(corrupt(&format!("the {name} segment is too short")));
    }
    Ok(())
}
