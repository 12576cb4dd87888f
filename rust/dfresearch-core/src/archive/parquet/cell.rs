//! From cells to media: base64 text, and arrays of samples.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::super::sniff;
use crate::modality::Modality;

/// The sampling rate of an array of samples that comes without one, in hertz.
pub(super) const DEFAULT_SAMPLING_RATE: u32 = 16_000;

/// The highest sampling rate that is stored, in hertz.
const MAX_SAMPLING_RATE: f64 = 768_000.0;

/// The bytes that a text stands for, if they are a medium: base64 with or without padding, of either alphabet,
/// with white space, and as a `data:` URL.
pub(super) fn decode_text(text: &[u8], modality: Modality) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let payload = match text.trim_ascii_start() {
        data if data.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:")) => {
            let comma = data.iter().position(|&byte| byte == b',')?;
            data[..comma].to_ascii_lowercase().ends_with(b";base64").then(|| &data[comma + 1..])?
        }
        other => other,
    };
    let payload: Cow<'_, [u8]> = if payload.iter().any(u8::is_ascii_whitespace) {
        payload.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect::<Vec<_>>().into()
    } else {
        payload.into()
    };
    let is_url_safe = payload.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = GeneralPurpose::new(if is_url_safe { &URL_SAFE } else { &STANDARD }, LENIENT);
    let bytes = engine.decode(payload.as_ref()).ok()?;
    sniff(&bytes, modality).is_some().then_some(bytes)
}

/// Whether bytes may be base64 text, by the first of them.
pub(super) fn may_be_text(head: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n\t ".contains(byte);
    head.trim_ascii_start().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"data:"))
        || !head.is_empty() && head.iter().all(is_base64)
}

/// A sampling rate in hertz; none if it is no rate.
pub(super) fn sampling_rate(rate: f64) -> Option<u32> {
    (rate.fract() == 0.0 && (1.0..=MAX_SAMPLING_RATE).contains(&rate)).then_some(rate as u32)
}

/// A sample as 16-bit PCM: limited to [-1, 1], times 32767, rounded to the nearest, ties to even; none for NaN.
pub(super) fn pcm16(sample: f64) -> Option<i16> {
    let scaled = (sample.clamp(-1.0, 1.0) * f64::from(i16::MAX)).round_ties_even();
    (!sample.is_nan()).then_some(scaled as i16)
}

/// The header of a WAV file of one channel with 16-bit PCM.
pub(super) fn wave_header(sampling_rate: u32, samples: usize) -> [u8; 44] {
    let data_bytes = u32::try_from(2 * samples).unwrap_or(u32::MAX);
    let mut header = [0; 44];
    let fields: [(usize, &[u8]); 13] = [
        (0, b"RIFF"),
        (4, &data_bytes.saturating_add(36).to_le_bytes()),
        (8, b"WAVE"),
        (12, b"fmt "),
        (16, &16_u32.to_le_bytes()),
        (20, &1_u16.to_le_bytes()),
        (22, &1_u16.to_le_bytes()),
        (24, &sampling_rate.to_le_bytes()),
        (28, &(2 * sampling_rate).to_le_bytes()),
        (32, &2_u16.to_le_bytes()),
        (34, &16_u16.to_le_bytes()),
        (36, b"data"),
        (40, &data_bytes.to_le_bytes()),
    ];
    for (place, field) in fields {
        header[place..place + field.len()].copy_from_slice(field);
    }
    header
}
