//! The orientation that EXIF data of an image file state. OpenCV turns pictures by it; Pillow leaves that to its caller.

use super::ImageFormat;

/// The tag of the orientation in the first directory.
const ORIENTATION: u16 = 0x0112;

/// The number of the orientation of a JPEG, PNG or WebP file; 1, which turns nothing, where none is stated.
pub(super) fn orientation(file: &[u8]) -> u64 {
    let exif = match ImageFormat::sniff(file) {
        Ok(ImageFormat::Jpeg) => of_jpeg(file),
        Ok(ImageFormat::Png) => chunk(file.get(8..), Length::BeforeName, b"eXIf"),
        Ok(ImageFormat::WebP) => chunk(file.get(12..), Length::AfterName, b"EXIF"),
        _ => None,
    };
    exif.and_then(first_directory).map_or(1, u64::from)
}

/// The content of the first segment `APP1` that holds EXIF data.
fn of_jpeg(file: &[u8]) -> Option<&[u8]> {
    let mut rest = file.get(2..)?;
    loop {
        let [0xff, marker, high, low, content @ ..] = rest else { return None };
        // The compressed picture begins.
        if *marker == 0xda {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low])).checked_sub(2)?;
        let (content, following) = content.split_at_checked(length)?;
        if *marker == 0xe1 && content.starts_with(b"Exif\0\0") {
            return Some(content);
        }
        rest = following;
    }
}

/// Where a chunk has its length, and in which order of bytes.
#[derive(Clone, Copy)]
enum Length {
    /// PNG: big-endian, and four bytes of checksum follow the content.
    BeforeName,
    /// RIFF: little-endian, and content of odd length is padded.
    AfterName,
}

fn chunk<'a>(chunks: Option<&'a [u8]>, length: Length, wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut rest = chunks?;
    loop {
        let (first, following) = rest.split_first_chunk::<4>()?;
        let (second, following) = following.split_first_chunk::<4>()?;
        let (name, bytes, padding) = match length {
            Length::BeforeName => (second, u32::from_be_bytes(*first), 4),
            Length::AfterName => {
                (first, u32::from_le_bytes(*second), u32::from_le_bytes(*second) as usize & 1)
            }
        };
        let (content, following) = following.split_at_checked(bytes as usize)?;
        if name == wanted {
            return Some(content);
        }
        rest = following.get(padding..)?;
    }
}

/// The orientation in the first directory of EXIF data, which are laid out as a TIFF file.
fn first_directory(exif: &[u8]) -> Option<u16> {
    let tiff = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let is_little = match tiff.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let short = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<4>()?;
        Some(if is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) } as usize)
    };
    let directory = long(4)?;
    let entries = usize::from(short(directory)?);
    let entry = (0..entries).map(|entry| directory + 2 + 12 * entry);
    let found = entry.into_iter().find(|&entry| short(entry) == Some(ORIENTATION))?;
    short(found + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXIF: &[u8] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    #[test]
    fn orientations_are_found_behind_other_parts() {
        let length = (EXIF.len() as u16 + 2).to_be_bytes();
        let jpeg = [b"\xff\xd8\xff\xe0\0\x04ab\xff\xe1", &length[..], EXIF, b"\xff\xda\0\x02"].concat();
        assert_eq!(orientation(&jpeg), 6);
        let length = (EXIF.len() as u32 - 6).to_be_bytes();
        let png =
            [b"\x89PNG\r\n\x1a\n\0\0\0\x01tEXt.crc.", &length[..], b"eXIf", &EXIF[6..], b"crc."].concat();
        assert_eq!(orientation(&png), 6);
        let length = (EXIF.len() as u32).to_le_bytes();
        let webp = [b"RIFF....WEBPVP8X\x01\0\0\0a.EXIF", &length[..], EXIF].concat();
        assert_eq!(orientation(&webp), 6);
    }

    #[test]
    fn what_is_cut_off_or_absent_turns_nothing() {
        assert_eq!(orientation(b"\xff\xd8\xff\xda\0\x02"), 1);
        assert_eq!(orientation(b"BM"), 1);
        for length in 0..EXIF.len() - 8 {
            assert_eq!(first_directory(&EXIF[..length]), None, "{length}");
        }
    }
}
