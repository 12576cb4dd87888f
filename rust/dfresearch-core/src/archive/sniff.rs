//! What a medium is, by its first bytes.

use crate::modality::Modality;

/// The extension that the store lists for a medium of `modality` which begins with `head`; none if these bytes are no
/// medium of it.
///
/// Up to 4 KiB decide. A container that may hold sound or pictures (MP4, Ogg, Matroska, ASF) is taken for what is
/// asked for: whether it holds that shows when it is opened.
///
/// ```
/// use dfresearch_core::Modality;
/// use dfresearch_core::archive::sniff;
///
/// assert_eq!(sniff(b"\xFF\xD8\xFF\xE0\0\x10JFIF", Modality::Image), Some("jpg"));
/// assert_eq!(sniff(b"\x89PNG\r\n\x1A\n", Modality::Video), None);
/// assert_eq!(sniff(b"<!DOCTYPE html>", Modality::Image), None);
/// ```
pub fn sniff(head: &[u8], modality: Modality) -> Option<&'static str> {
    match modality {
        Modality::Image => image(head),
        Modality::Video => video(head),
        Modality::Audio => audio(head),
    }
}

fn image(head: &[u8]) -> Option<&'static str> {
    let little_tiff = head.starts_with(b"II\x2A\0") || head.starts_with(b"II\x2B\0");
    let big_tiff = head.starts_with(b"MM\0\x2A") || head.starts_with(b"MM\0\x2B");
    if head.starts_with(b"\xFF\xD8\xFF") {
        Some("jpg")
    } else if head.starts_with(b"\x89PNG\r\n\x1A\n") {
        Some("png")
    } else if riff(head, b"WEBP") {
        Some("webp")
    } else if is_bmp(head) {
        Some("bmp")
    } else if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        Some("gif")
    } else if little_tiff || big_tiff {
        Some("tif")
    } else {
        None
    }
}

fn video(head: &[u8]) -> Option<&'static str> {
    if let Some(brand) = iso_brand(head) {
        return match brand {
            Brand::Major(brand) => video_brand(brand),
            Brand::None => Some("mov"),
        };
    }
    if let Some(document) = matroska(head) {
        return Some(if document == Document::WebM { "webm" } else { "mkv" });
    }
    if riff(head, b"AVI ") {
        Some("avi")
    } else if is_mpeg(head) {
        Some("mpg")
    } else if head.starts_with(b"FLV\x01") {
        Some("flv")
    } else if is_asf(head) {
        Some("wmv")
    } else if head.starts_with(b"OggS") {
        Some("ogv")
    } else {
        None
    }
}

fn audio(head: &[u8]) -> Option<&'static str> {
    if let Some(brand) = iso_brand(head) {
        return match brand {
            Brand::Major(brand) if is_still(brand) => None,
            _ => Some("m4a"),
        };
    }
    if matroska(head).is_some() {
        return Some("mka");
    }
    let is_wave = riff(head, b"WAVE")
        || (head.starts_with(b"RF64") || head.starts_with(b"BW64")) && at(head, 8, b"WAVE");
    if is_wave {
        Some("wav")
    } else if head.starts_with(b"fLaC") {
        Some("flac")
    } else if head.starts_with(b"OggS") {
        // The first page holds the first packet alone: it begins behind the header of at most 27 + 255 bytes.
        let first_page = &head[..head.len().min(320)];
        Some(if contains(first_page, b"OpusHead") { "opus" } else { "ogg" })
    } else if head.starts_with(b"FORM") && (at(head, 8, b"AIFF") || at(head, 8, b"AIFC")) {
        Some("aif")
    } else if is_asf(head) {
        Some("wma")
    } else if head.starts_with(b"ID3") {
        Some(behind_id3(head))
    } else if head.starts_with(b"ADIF") || is_adts(head) {
        Some("aac")
    } else if is_mpeg_audio(head) {
        Some("mp3")
    } else {
        None
    }
}

fn at(head: &[u8], position: usize, bytes: &[u8]) -> bool {
    head.get(position..).is_some_and(|rest| rest.starts_with(bytes))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn riff(head: &[u8], form: &[u8]) -> bool {
    head.starts_with(b"RIFF") && at(head, 8, form)
}

/// `BM` begins many a text: the size of the header behind it is one of those that exist.
fn is_bmp(head: &[u8]) -> bool {
    const HEADER_SIZES: [u32; 8] = [12, 16, 40, 52, 56, 64, 108, 124];
    let size = head.get(14..18).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    head.starts_with(b"BM") && size.is_some_and(|size| HEADER_SIZES.contains(&size))
}

/// What an ISO base media file says that it is.
enum Brand<'a> {
    Major(&'a [u8]),
    /// QuickTime from before there were brands.
    None,
}

fn iso_brand(head: &[u8]) -> Option<Brand<'_>> {
    let size = u32::from_be_bytes(head.get(..4)?.try_into().ok()?);
    // An atom says its size first; 1 announces a longer number, 0 the rest of the file.
    let is_atom = size >= 8 || size <= 1;
    match head.get(4..8)? {
        b"ftyp" if is_atom => Some(Brand::Major(head.get(8..12)?)),
        b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" if is_atom => Some(Brand::None),
        _ => None,
    }
}

fn is_still(brand: &[u8]) -> bool {
    matches!(
        brand,
        b"avif"
            | b"avis"
            | b"heic"
            | b"heix"
            | b"heim"
            | b"heis"
            | b"mif1"
            | b"msf1"
            | b"jxl "
            | b"jp2 "
            | b"crx "
    )
}

fn video_brand(brand: &[u8]) -> Option<&'static str> {
    match brand {
        _ if is_still(brand) => None,
        b"qt  " => Some("mov"),
        b"M4A " | b"M4B " | b"M4P " => None,
        b"M4V " | b"M4VH" | b"M4VP" => Some("m4v"),
        _ if brand.starts_with(b"3gp") || brand.starts_with(b"3g2") => Some("3gp"),
        _ => Some("mp4"),
    }
}

#[derive(PartialEq)]
enum Document {
    WebM,
    Matroska,
}

/// The document type in an EBML header.
fn matroska(head: &[u8]) -> Option<Document> {
    const DOCUMENT_TYPE: [u8; 2] = [0x42, 0x82];
    if !head.starts_with(b"\x1A\x45\xDF\xA3") {
        return None;
    }
    let header = &head[..head.len().min(128)];
    let place = header.windows(2).position(|window| window == DOCUMENT_TYPE)? + 3;
    if at(header, place, b"webm") {
        Some(Document::WebM)
    } else {
        at(header, place, b"matroska").then_some(Document::Matroska)
    }
}

fn is_asf(head: &[u8]) -> bool {
    head.starts_with(b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C")
}

/// A program stream, a bare MPEG video, or a transport stream: packets of 188 bytes, or of 192 with a time before each.
fn is_mpeg(head: &[u8]) -> bool {
    let is_stream = head.starts_with(b"\0\0\x01\xBA") || head.starts_with(b"\0\0\x01\xB3");
    let is_transport = [(0, 188), (4, 192)].iter().any(|&(first, step)| {
        let marks: Vec<u8> = head.iter().skip(first).step_by(step).copied().collect();
        marks.len() >= 3 && marks.iter().all(|&mark| mark == 0x47)
    });
    is_stream || is_transport
}

/// What stands behind an ID3v2 tag; MP3 where the head ends before the tag does.
fn behind_id3(head: &[u8]) -> &'static str {
    let Some(size) = head.get(6..10) else { return "mp3" };
    let length = size.iter().fold(0_usize, |length, &byte| length << 7 | usize::from(byte & 0x7F));
    match head.get(10 + length..) {
        Some(rest) if rest.starts_with(b"fLaC") => "flac",
        Some(rest) if is_adts(rest) => "aac",
        _ => "mp3",
    }
}

/// An ADTS frame, followed by another one where the head shows it.
fn is_adts(head: &[u8]) -> bool {
    let length = |head: &[u8]| match *head {
        [0xFF, second, third, fourth, fifth, sixth, ..]
            // Layer 0, and a sampling rate that exists.
            if second & 0xF6 == 0xF0 && (third >> 2) & 0x0F < 13 =>
        {
            let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
            (length >= 7).then_some(length)
        }
        _ => None,
    };
    length(head)
        .is_some_and(|first| head.get(first..).is_none_or(|rest| rest.len() < 6 || length(rest).is_some()))
}

/// An MPEG audio frame, followed by another one where the head shows it.
fn is_mpeg_audio(head: &[u8]) -> bool {
    mpeg_audio_frame(head).is_some_and(|first| {
        head.get(first..).is_none_or(|rest| rest.len() < 4 || mpeg_audio_frame(rest).is_some())
    })
}

/// The length in bytes of the MPEG audio frame of layer II or III that `head` begins with (ISO 11172-3, 2.4.2.3, and
/// ISO 13818-3). Layer I is left out: nothing has it, and text in UTF-16 begins so.
fn mpeg_audio_frame(head: &[u8]) -> Option<usize> {
    const RATES: [usize; 3] = [44_100, 48_000, 32_000];
    // kbit/s by index 1 to 14: version 1 layers II and III, version 2 both.
    const BIT_RATES: [[usize; 14]; 3] = [
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let &[0xFF, second, third, _, ..] = head else { return None };
    let (version, layer) = ((second >> 3) & 3, 4 - ((second >> 1) & 3));
    if second & 0xE0 != 0xE0 || version == 1 || !matches!(layer, 2 | 3) {
        return None;
    }
    let is_first_version = version == 3;
    let table = if is_first_version { usize::from(layer) - 2 } else { 2 };
    let bits = 1000 * BIT_RATES[table].get(usize::from(third >> 4).checked_sub(1)?)?;
    let divisor = match version {
        3 => 1,
        2 => 2,
        _ => 4,
    };
    let rate = RATES.get(usize::from((third >> 2) & 3))? / divisor;
    let padding = usize::from((third >> 1) & 1);
    // A frame has 1152 samples; of version 2 in layer III half as many.
    let samples = if layer == 3 && !is_first_version { 576 } else { 1152 };
    Some(samples / 8 * bits / rate + padding)
}
