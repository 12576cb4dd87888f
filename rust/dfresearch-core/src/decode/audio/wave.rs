//! The plain WAV file, read without FFmpeg's demuxer: complete, mono or stereo, 16-bit integers or 32-bit floats.
//!
//! FFmpeg searches the samples of a 16-bit WAV for a dozen other codecs before it believes the header, which takes
//! several times as long as to decode them. So the samples of the plain file go to libswresample from here, in the
//! pieces in which FFmpeg's demuxer cuts them. Whatever is not plain in every point is left to FFmpeg: other
//! encodings, lengths that do not add up, chunks with a meaning, and samples in which there may be another codec's
//! stream.

use ffmpeg_next::ffi::AVSampleFormat;

use super::resample::SampleLayout;

/// What errors call these files; FFmpeg's own way to the same name is longer.
pub const FORMAT: &str = "WAV";

/// How the file begins.
pub const SIGNATURE: [u8; 4] = *b"RIFF";

/// Larger files are not read into memory, but left to FFmpeg.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The size of a packet of FFmpeg's demuxer; channels and widths here divide it.
pub const PACKET_BYTES: usize = 4096;

/// How many bytes FFmpeg searches for other codecs.
const SEARCHED_BYTES: usize = 32 * PACKET_BYTES;

/// Chunks that say nothing about the samples.
const HARMLESS_CHUNKS: [[u8; 4]; 9] =
    [*b"LIST", *b"fact", *b"JUNK", *b"junk", *b"PEAK", *b"bext", *b"cue ", *b"id3 ", *b"PAD "];

/// The encodings in a `fmt ` chunk.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xFFFE;

/// What follows the encoding in the identifier of an extensible header.
const GUID_REST: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// Sync words that FFmpeg takes, often enough repeated, for DTS, TrueHD and S/PDIF bursts.
const SYNC_WORDS_ANYWHERE: [[u8; 4]; 6] = [
    [0x7F, 0xFE, 0x80, 0x01],
    [0xFE, 0x7F, 0x01, 0x80],
    [0x1F, 0xFF, 0xE8, 0x00],
    [0xFF, 0x1F, 0x00, 0xE8],
    [0xF8, 0x72, 0x6F, 0xBA],
    [0x72, 0xF8, 0x1F, 0x4E],
];

/// A plain WAV file.
pub struct PlainWave<'a> {
    /// How the samples are stored.
    pub layout: SampleLayout,
    /// A whole number of samples of all channels.
    pub data: &'a [u8],
    /// How long they sound.
    pub seconds: f64,
}

struct Format {
    sample: AVSampleFormat,
    channels: u16,
    rate: u32,
    block_bytes: u16,
}

/// The samples of a plain WAV file; none if it is any other file.
pub fn parse(bytes: &[u8]) -> Option<PlainWave<'_>> {
    let (header, mut rest) = bytes.split_at_checked(12)?;
    if header[..4] != SIGNATURE || header[8..] != *b"WAVE" {
        return None;
    }
    let (mut format, mut data) = (None, None);
    while let Some((chunk, behind)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes(chunk[4..].try_into().ok()?) as usize;
        let (content, behind) = behind.split_at_checked(length)?;
        match chunk.first_chunk()? {
            b"fmt " if format.is_none() && data.is_none() => format = Some(parse_format(content)?),
            b"data" if data.is_none() => data = Some(content),
            other if HARMLESS_CHUNKS.contains(other) => {}
            _ => return None,
        }
        // Chunks begin at even places.
        rest = behind.get(length % 2..).unwrap_or_default();
    }
    let (format, data) = (format?, data?);
    let is_whole = !data.is_empty() && data.len().is_multiple_of(usize::from(format.block_bytes));
    if !is_whole || (format.sample == AVSampleFormat::AV_SAMPLE_FMT_S16 && may_be_another_codec(data)) {
        return None;
    }
    let samples = data.len() / usize::from(format.block_bytes);
    Some(PlainWave {
        layout: SampleLayout::interleaved(format.sample, usize::from(format.channels), format.rate),
        data,
        seconds: samples as f64 / f64::from(format.rate),
    })
}

fn parse_format(content: &[u8]) -> Option<Format> {
    let number = |place: usize| Some(u16::from_le_bytes(content.get(place..place + 2)?.try_into().ok()?));
    let rate = u32::from_le_bytes(content.get(4..8)?.try_into().ok()?);
    let (mut encoding, channels, block_bytes, bits) = (number(0)?, number(2)?, number(12)?, number(14)?);
    if encoding == EXTENSIBLE {
        let usual_speakers = if channels == 1 { 4 } else { 3 };
        let speakers = u32::from_le_bytes(content.get(20..24)?.try_into().ok()?);
        let is_usual = number(16)? == 22 && number(18)? == bits && speakers == usual_speakers;
        if !is_usual || content.get(26..40)? != GUID_REST {
            return None;
        }
        encoding = number(24)?;
    }
    let sample = match (encoding, bits) {
        (PCM, 16) => AVSampleFormat::AV_SAMPLE_FMT_S16,
        (FLOAT, 32) => AVSampleFormat::AV_SAMPLE_FMT_FLT,
        _ => return None,
    };
    let is_plain =
        matches!(channels, 1 | 2) && block_bytes == channels * bits / 8 && (1..=768_000).contains(&rate);
    is_plain.then_some(Format { sample, channels, rate, block_bytes })
}

/// Whether FFmpeg might take 16-bit samples for the stream of another codec.
///
/// MPEG audio, AAC and AC-3 are believed from a few frames on if the first one begins with the first byte that is not
/// zero; DTS, TrueHD and S/PDIF wherever their sync words are.
fn may_be_another_codec(data: &[u8]) -> bool {
    let searched = &data[..data.len().min(SEARCHED_BYTES)];
    let start = searched.iter().position(|&byte| byte != 0).unwrap_or(searched.len());
    let begins_frames = begins_mpeg_frames(&searched[start..])
        || matches!(searched[start..], [0x0B, 0x77, ..] | [0x77, 0x0B, ..])
        || matches!(searched[start..], [0x56, second, ..] if second >= 0xE0);
    begins_frames || searched.windows(4).any(is_sync_word)
}

#[inline]
fn is_sync_word(window: &[u8]) -> bool {
    // Nearly all places are done with after one look.
    matches!(window[0], 0x7F | 0xFE | 0x1F | 0xFF | 0xF8 | 0x72)
        && SYNC_WORDS_ANYWHERE.iter().any(|word| word == window)
}

/// Whether the bytes begin with two frames of MPEG audio or AAC in a row; FFmpeg believes in seven of the one, and in
/// three of the other. One header alone is met often: a sample of -1 is half of it.
fn begins_mpeg_frames(bytes: &[u8]) -> bool {
    let length_at = |place: usize| {
        let header = bytes.get(place..)?.first_chunk::<6>()?;
        mpeg_frame_bytes(header).or_else(|| aac_frame_bytes(header))
    };
    length_at(0).is_some_and(|length| length_at(length).is_some())
}

/// The length of a frame of MPEG audio (ISO/IEC 11172-3, 2.4.2.3, and 13818-3), if this is the header of one.
fn mpeg_frame_bytes(header: &[u8; 6]) -> Option<usize> {
    /// kbit/s of layers I, II and III of MPEG-1, then of layer I and of the others of MPEG-2.
    const KILOBITS: [[usize; 14]; 5] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let (version, layer) = (header[1] >> 3 & 3, 4 - usize::from(header[1] >> 1 & 3));
    let is_header = header[0] == 0xFF && header[1] >= 0xE0 && version != 1 && layer != 4;
    let rate = *[44_100, 48_000, 32_000].get(usize::from(header[2] >> 2 & 3))?;
    let is_second = version != 3;
    let rates = if is_second { layer.min(2) + 2 } else { layer.saturating_sub(1) };
    let kilobits = *KILOBITS.get(rates)?.get(usize::from(header[2] >> 4).checked_sub(1)?)?;
    let rate = match version {
        3 => rate,
        2 => rate / 2,
        _ => rate / 4,
    };
    let padding = usize::from(header[2] >> 1 & 1);
    let bytes = match layer {
        1 => (kilobits * 12_000 / rate + padding) * 4,
        3 if is_second => kilobits * 72_000 / rate + padding,
        _ => kilobits * 144_000 / rate + padding,
    };
    is_header.then_some(bytes)
}

/// The length of an AAC frame (ISO/IEC 13818-7, 6.2), if this is the header of one.
fn aac_frame_bytes(header: &[u8; 6]) -> Option<usize> {
    let length = usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5] >> 5);
    let is_header = header[0] == 0xFF && header[1] & 0xF6 == 0xF0 && header[2] >> 2 & 15 < 13;
    (is_header && length >= 7).then_some(length)
}
