use std::path::Path;

use super::*;

/// A WAV file of interleaved floats.
pub(crate) fn float_wave(sample_rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let block = channels * 4;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + data.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend(3u16.to_le_bytes());
    file.extend(channels.to_le_bytes());
    file.extend(sample_rate.to_le_bytes());
    file.extend((sample_rate * u32::from(block)).to_le_bytes());
    file.extend(block.to_le_bytes());
    file.extend(32u16.to_le_bytes());
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

fn decode(decoder: &mut AudioDecoder, bytes: &[u8], sample_rate: u32) -> Result<Vec<f32>> {
    let mut samples = vec![7.0; 3];
    let decoded = decoder.decode(MediaSource::Bytes(bytes), sample_rate, &mut samples);
    assert!(decoded.is_ok() || samples.is_empty());
    decoded.map(|()| samples)
}

fn tone(length: usize) -> Vec<f32> {
    (0..length).map(|n| (n as f32 * 0.37).sin() * 1.5).collect()
}

#[test]
fn samples_at_the_same_rate_are_untouched_even_above_full_scale() {
    let samples = tone(5000);
    let file = float_wave(16_000, 1, &samples);
    assert_eq!(decode(&mut AudioDecoder::default(), &file, 16_000).unwrap(), samples);
}

#[test]
fn a_decoder_remembers_nothing_of_the_file_before() {
    let files = [
        float_wave(44_100, 1, &tone(30_000)),
        float_wave(44_100, 2, &tone(30_000)),
        float_wave(8000, 1, &tone(3000)),
        float_wave(44_100, 1, &tone(200)),
    ];
    let mut decoder = AudioDecoder::default();
    for _ in 0..2 {
        for file in files.iter().chain(files.iter().rev()) {
            let fresh = decode(&mut AudioDecoder::default(), file, 16_000).unwrap();
            assert_eq!(decode(&mut decoder, file, 16_000).unwrap(), fresh);
        }
        assert!(decode(&mut decoder, &files[0][..5000], 16_000).is_ok());
        assert!(decode(&mut decoder, b"nothing of the kind", 16_000).is_err());
    }
}

#[test]
fn too_much_sound_is_refused_by_the_header_and_by_what_is_decoded() {
    let limits = AudioLimits { max_seconds: 2, ..AudioLimits::default() };
    let mut decoder = AudioDecoder::new(limits);
    assert!(decode(&mut decoder, &float_wave(8000, 1, &tone(16_000)), 16_000).is_ok());
    let long = float_wave(8000, 1, &tone(48_000));
    let refused = decode(&mut decoder, &long, 16_000).unwrap_err();
    assert_eq!(refused.to_string(), "<bytes>: there is more in it than the limit of 2 seconds of sound");
    // A length that nobody knew when the header was written.
    let mut streamed = long.clone();
    streamed[4..8].fill(0xFF);
    streamed[40..44].fill(0xFF);
    assert!(matches!(
        decode(&mut decoder, &streamed, 16_000),
        Err(Error::Decode { reason: DecodeError::TooLong { .. }, .. })
    ));
}

#[test]
fn what_is_not_finite_is_refused_where_it_stands() {
    for (value, name) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut samples = tone(16_000);
        samples[8000] = value;
        let refused = decode(&mut AudioDecoder::default(), &float_wave(16_000, 1, &samples), 16_000);
        let expected = format!("corrupt WAV: the sample at 0.5000 seconds is {name}, not a number");
        assert_eq!(refused.unwrap_err().reason(), expected);
    }
}

#[test]
fn a_missing_file_and_a_bad_rate_are_told_apart() {
    let mut samples = Vec::new();
    let missing = MediaSource::Path(Path::new("/nowhere/a.wav"));
    let mut decoder = AudioDecoder::default();
    assert!(matches!(decoder.decode(missing, 16_000, &mut samples), Err(Error::NotFound { .. })));
    assert!(matches!(decoder.decode(missing, 0, &mut samples), Err(Error::Argument { .. })));
}
