//! Lossy codecs, there and back: a messenger, a podcast, a telephone call over the network.

use std::fmt;

use ffmpeg_next::codec::{self, Id, Parameters, threading};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::Sample;
use ffmpeg_next::format::sample::Type;
use ffmpeg_next::{ChannelLayout, Codec, Error as FfmpegError, Packet, decoder, encoder, ffi, frame};

use super::kind::AudioOperationKind;
use crate::augment::{BuiltIn, check_parameter};
use crate::decode::audio::{Resampler, SampleLayout};
use crate::error::{Error, Result};
use crate::ffmpeg::initialise;

/// The lossy codecs that waveforms are sent through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// MPEG-1 and MPEG-2 Layer III, encoded by LAME at a constant bit rate.
    Mp3,
    /// Opus, encoded by libopus at a variable bit rate about the one that is asked for.
    Opus,
}

impl AudioCodec {
    fn id(self) -> Id {
        match self {
            Self::Mp3 => Id::MP3,
            Self::Opus => Id::OPUS,
        }
    }

    /// FFmpeg's name of the encoder.
    fn encoder_name(self) -> &'static str {
        match self {
            Self::Mp3 => "libmp3lame",
            Self::Opus => "libopus",
        }
    }

    fn kind(self) -> AudioOperationKind {
        match self {
            Self::Mp3 => AudioOperationKind::Mp3Compress,
            Self::Opus => AudioOperationKind::OpusCompress,
        }
    }

    /// An error about this codec.
    fn error(self, reason: impl Into<String>) -> Error {
        Error::augment(self.kind().name(), reason)
    }

    fn failed(self, step: &str, error: FfmpegError) -> Error {
        self.error(format!("{step}: {error}"))
    }

    fn find(self) -> Result<(Codec, Codec)> {
        initialise();
        let missing = |what: &str| {
            self.error(format!(
                "the FFmpeg of this machine has no {what}; install one that has it, or take the operation out of the \
                 table"
            ))
        };
        let name = self.encoder_name();
        let encoder = encoder::find_by_name(name).ok_or_else(|| missing(&format!("encoder {name}")))?;
        let decoder =
            decoder::find(self.id()).ok_or_else(|| missing(&format!("decoder for {:?}", self.id())))?;
        Ok((encoder, decoder))
    }

    /// Finds out whether the machine's FFmpeg has the encoder and the decoder.
    ///
    /// # Errors
    /// [`Error::Augment`], naming the one that is missing.
    pub fn check_available(self) -> Result<()> {
        self.find().map(drop)
    }

    /// Finds out whether waveforms of a sampling rate can be encoded.
    ///
    /// # Errors
    /// [`Error::Augment`], naming the rates that the codec has.
    pub fn check_sample_rate(self, sample_rate: u32) -> Result<()> {
        check_rate(self, self.find()?.0, sample_rate)
    }
}

/// The loudest waveform that an encoder gets as it is, 60 dB above full scale. LAME ends the whole process where its
/// energies overflow.
const LOUDEST: f32 = 1024.0;

/// What is kept from one round trip to the next.
#[derive(Default)]
pub struct CodecScratch {
    decoded: Vec<f32>,
    resampler: Option<Resampler>,
}

impl fmt::Debug for CodecScratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CodecScratch({} samples)", self.decoded.len())
    }
}

/// Encodes a mono waveform and decodes it again, in place: of the same length, and in time with what it was.
///
/// The encoder's delay is taken out. MP3 takes the bit rate that is nearest among those it has at the sampling rate
/// (8 to 160 kbit/s below 32 kHz). A waveform that reaches 1024 times full scale is made quieter for the encoder, by a
/// power of two, and as loud again afterwards.
///
/// # Errors
/// [`Error::Augment`](crate::Error::Augment) for samples that are not finite, a bit rate outside of the operation's domain, a sampling rate that the
/// codec does not have, or if FFmpeg lacks the encoder.
pub fn codec_round_trip(
    waveform: &mut [f32],
    sample_rate: u32,
    codec: AudioCodec,
    kilobits_per_second: u32,
    scratch: &mut CodecScratch,
) -> Result<()> {
    check_parameter(codec.kind(), f64::from(kilobits_per_second))?;
    let (encoder, decoder) = codec.find()?;
    if waveform.is_empty() {
        return Ok(());
    }
    check_rate(codec, encoder, sample_rate)?;
    let scale = encodable_scale(waveform).ok_or_else(|| codec.error("the waveform is not finite"))?;
    let encoder = open_encoder(codec, encoder, sample_rate, kilobits_per_second)?;
    let decoder = open_decoder(codec, decoder, &encoder)?;
    let delay = encoder_delay(&encoder);

    let CodecScratch { decoded, resampler } = scratch;
    decoded.clear();
    waveform.iter_mut().for_each(|sample| *sample *= scale);
    let mut receiving = Receiving { codec, decoder, frame: frame::Audio::empty(), sample_rate, resampler };
    receiving.restart()?;
    send_all(encoder, codec, waveform, delay, |packet| receiving.decode(packet, decoded))?;
    receiving.finish(decoded)?;

    let kept = decoded.get(delay..delay + waveform.len()).ok_or_else(|| {
        codec.error(format!(
            "{} samples came back of {} and a delay of {delay}",
            decoded.len(),
            waveform.len()
        ))
    })?;
    waveform.iter_mut().zip(kept).for_each(|(sample, kept)| *sample = kept / scale);
    Ok(())
}

/// By what a waveform is multiplied before it is encoded; none if it is not finite.
fn encodable_scale(waveform: &[f32]) -> Option<f32> {
    let peak = waveform.iter().fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    let is_finite = waveform.iter().fold(true, |all, sample| all & sample.is_finite());
    let steps = (peak / LOUDEST).log2().ceil().max(0.0);
    is_finite.then(|| 2f32.powi(-(steps as i32)))
}

fn check_rate(codec: AudioCodec, encoder: Codec, sample_rate: u32) -> Result<()> {
    let rates = encoder.audio().ok().and_then(|audio| audio.rates());
    let mut rates: Vec<i32> = rates.map(Iterator::collect).unwrap_or_default();
    if rates.is_empty() || rates.iter().any(|&rate| u32::try_from(rate) == Ok(sample_rate)) {
        return Ok(());
    }
    rates.sort_unstable();
    let rates: Vec<_> = rates.iter().map(i32::to_string).collect();
    Err(codec.error(format!("there is no sampling rate of {sample_rate} Hz, but {}", rates.join(", "))))
}

fn open_encoder(
    codec: AudioCodec,
    encoder: Codec,
    sample_rate: u32,
    kilobits_per_second: u32,
) -> Result<encoder::Audio> {
    let failed = |error| codec.failed("the encoder cannot be opened", error);
    let mut context = codec::Context::new_with_codec(encoder);
    context.set_threading(threading::Config { count: 1, ..threading::Config::default() });
    let mut settings = context.encoder().audio().map_err(failed)?;
    let rate = i32::try_from(sample_rate).map_err(|_| failed(FfmpegError::InvalidData))?;
    settings.set_rate(rate);
    settings.set_time_base((1, rate));
    settings.set_channel_layout(ChannelLayout::MONO);
    settings.set_format(sample_format(codec));
    settings.set_bit_rate(kilobits_per_second as usize * 1000);
    settings.open().map_err(failed)
}

/// One channel is the same in both orders, but encoders insist on theirs.
fn sample_format(codec: AudioCodec) -> Sample {
    match codec {
        AudioCodec::Mp3 => Sample::F32(Type::Planar),
        AudioCodec::Opus => Sample::F32(Type::Packed),
    }
}

#[allow(unsafe_code)]
fn open_decoder(codec: AudioCodec, decoder: Codec, encoder: &encoder::Audio) -> Result<decoder::Audio> {
    let failed = |error| codec.failed("the decoder cannot be opened", error);
    let context = codec::Context::from_parameters(Parameters::from(encoder)).map_err(failed)?;
    let mut settings = context.decoder();
    settings.set_threading(threading::Config { count: 1, ..threading::Config::default() });
    // SAFETY: the context is alive, not opened yet, and nobody else's.
    unsafe {
        // Decoders differ in how much of the encoder's delay they take out by themselves; told so, they take none.
        (*settings.as_mut_ptr()).flags2 |= ffi::AV_CODEC_FLAG2_SKIP_MANUAL;
    }
    settings.open_as(decoder).and_then(|opened| opened.audio()).map_err(failed)
}

/// Samples that come out before the first one that went in: the encoder's and the decoder's delay together.
#[allow(unsafe_code)]
fn encoder_delay(encoder: &encoder::Audio) -> usize {
    // SAFETY: the context is alive and only read.
    let padding = unsafe { (*encoder.as_ptr()).initial_padding };
    usize::try_from(padding).unwrap_or(0)
}

/// Sends the waveform through the encoder, and after it as much silence as its delay holds back.
fn send_all(
    mut encoder: encoder::Audio,
    codec: AudioCodec,
    waveform: &[f32],
    delay: usize,
    mut receive: impl FnMut(&Packet) -> Result<()>,
) -> Result<()> {
    let failed = |error| codec.failed("encoding", error);
    let frame_samples = (encoder.frame_size() as usize).max(1);
    let frames = (waveform.len() + delay).div_ceil(frame_samples) + 1;
    let mut packet = Packet::empty();
    for number in 0..=frames {
        if number < frames {
            let mut frame = frame::Audio::new(sample_format(codec), frame_samples, ChannelLayout::MONO);
            frame.set_rate(encoder.rate());
            frame.set_pts(Some((number * frame_samples) as i64));
            let start = (number * frame_samples).min(waveform.len());
            let end = (start + frame_samples).min(waveform.len());
            let plane: &mut [f32] = frame.plane_mut(0);
            plane[..end - start].copy_from_slice(&waveform[start..end]);
            plane[end - start..].fill(0.0);
            encoder.send_frame(&frame).map_err(failed)?;
        } else {
            encoder.send_eof().map_err(failed)?;
        }
        loop {
            match encoder.receive_packet(&mut packet) {
                Ok(()) => receive(&packet)?,
                Err(FfmpegError::Eof | FfmpegError::Other { errno: EAGAIN }) => break,
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}

/// The way back to samples at the waveform's own rate; Opus always decodes to 48 kHz.
struct Receiving<'a> {
    codec: AudioCodec,
    decoder: decoder::Audio,
    frame: frame::Audio,
    sample_rate: u32,
    resampler: &'a mut Option<Resampler>,
}

impl Receiving<'_> {
    /// Lets the resampler that is kept forget the last waveform.
    fn restart(&mut self) -> Result<()> {
        let restarted = self.resampler.as_mut().map_or(Ok(()), Resampler::restart);
        restarted.map_err(|error| self.codec.failed("resampling", error))
    }

    fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) -> Result<()> {
        self.decoder.send_packet(packet).map_err(|error| self.codec.failed("decoding", error))?;
        self.receive(out)
    }

    fn receive(&mut self, out: &mut Vec<f32>) -> Result<()> {
        loop {
            match self.decoder.receive_frame(&mut self.frame) {
                Ok(()) => self.resample(out).map_err(|error| self.codec.failed("resampling", error))?,
                Err(FfmpegError::Eof | FfmpegError::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return Err(self.codec.failed("decoding", error)),
            }
        }
    }

    fn resample(&mut self, out: &mut Vec<f32>) -> Result<(), FfmpegError> {
        let layout = SampleLayout::of_frame(&self.frame).ok_or(FfmpegError::InvalidData)?;
        let resampler = match self.resampler.take().filter(|known| known.fits(&layout, self.sample_rate)) {
            Some(known) => known,
            None => Resampler::new(layout, self.sample_rate)?,
        };
        self.resampler.insert(resampler).convert(&self.frame, out)
    }

    fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        self.decoder.send_eof().map_err(|error| self.codec.failed("decoding", error))?;
        self.receive(out)?;
        let finished = self.resampler.as_mut().map_or(Ok(()), |resampler| resampler.finish(out));
        finished.map_err(|error| self.codec.failed("resampling", error))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;

    /// A chirp: its self-similarity has one sharp peak.
    fn chirp(length: usize) -> Vec<f32> {
        let phase = |n: usize| 0.05 * n as f64 + 0.5 * (n as f64).powi(2) / (4.0 * length as f64);
        (0..length).map(|n| 0.4 * phase(n).sin() as f32).collect()
    }

    fn round_trip(codec: AudioCodec, kilobits_per_second: u32, waveform: &[f32]) -> Vec<f32> {
        let mut result = waveform.to_vec();
        let mut scratch = CodecScratch::default();
        codec_round_trip(&mut result, RATE, codec, kilobits_per_second, &mut scratch).unwrap();
        let mut again = waveform.to_vec();
        codec_round_trip(&mut again, RATE, codec, kilobits_per_second, &mut scratch).unwrap();
        assert_eq!(result, again);
        result
    }

    #[test]
    fn what_comes_back_is_in_time_and_close() {
        for (codec, kilobits_per_second) in
            [(AudioCodec::Mp3, 64), (AudioCodec::Mp3, 16), (AudioCodec::Opus, 32)]
        {
            let waveform = chirp(20_000);
            let result = round_trip(codec, kilobits_per_second, &waveform);
            assert_ne!(result, waveform);
            let inner = 2000..18_000;
            let likeness = |shift: isize| -> f64 {
                let other = |n: usize| f64::from(result[n.strict_add_signed(shift)]);
                inner.clone().map(|n| f64::from(waveform[n]) * other(n)).sum()
            };
            let best = (-800..=800).max_by(|&a, &b| likeness(a).total_cmp(&likeness(b)));
            assert_eq!(best, Some(0), "{codec:?} at {kilobits_per_second}");
            let energy: f64 = inner.clone().map(|n| f64::from(waveform[n]).powi(2)).sum();
            assert!(likeness(0) > 0.9 * energy, "{codec:?} at {kilobits_per_second}");
        }
    }

    #[test]
    fn every_length_comes_back_and_silence_stays_silent() {
        for codec in [AudioCodec::Mp3, AudioCodec::Opus] {
            for length in [1, 2, 319, 320, 321, 575, 576, 577, 1105, 5000] {
                assert_eq!(round_trip(codec, 32, &chirp(length)).len(), length);
            }
            assert!(round_trip(codec, 32, &vec![0.0; 4000]).iter().all(|it| it.abs() < 1e-4));
        }
    }

    #[test]
    fn no_loudness_ends_the_process() {
        let mut scratch = CodecScratch::default();
        for codec in [AudioCodec::Mp3, AudioCodec::Opus] {
            for peak in [1e4f32, 1e12, 1e30] {
                let mut waveform: Vec<f32> = chirp(4000).iter().map(|it| it * peak).collect();
                codec_round_trip(&mut waveform, RATE, codec, 32, &mut scratch).unwrap();
                let loudest = waveform.iter().fold(0.0f32, |most, it| most.max(it.abs()));
                assert!(loudest.is_finite() && loudest > 0.0, "{codec:?} at {peak}");
            }
            for value in [f32::NAN, f32::INFINITY] {
                assert!(codec_round_trip(&mut [0.0, value], RATE, codec, 32, &mut scratch).is_err());
            }
        }
    }

    #[test]
    fn rates_that_a_codec_does_not_have_are_named() {
        let mut waveform = chirp(1000);
        let mut scratch = CodecScratch::default();
        let mut refusal = |rate, codec, kilobits_per_second| {
            codec_round_trip(&mut waveform, rate, codec, kilobits_per_second, &mut scratch)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refusal(11_111, AudioCodec::Opus, 32),
            "augmentation opus_compress: there is no sampling rate of 11111 Hz, but 8000, 12000, 16000, 24000, 48000"
        );
        assert!(
            refusal(RATE, AudioCodec::Mp3, 500).contains("kilobits_per_second 500 is not between 8 and 160")
        );
    }
}
