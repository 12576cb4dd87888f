//! Sound files to mono `f32` samples, bit for bit those of `ffmpeg -i FILE -ac 1 -ar RATE -f f32le -`.
//!
//! ```text
//!  bytes ─► NPZ? ─► arrays `audio`, `sr` ───────────────────┐
//!      ├──► plain WAV? ─► its samples ──────────────────────┤
//!      └──► FFmpeg: best audio stream ─► decoder ─► frames ─┴─► libswresample ─► mono f32 ─► all finite?
//! ```
//!
//! The command is meant with `-threads 1`: with more, FFmpeg's FLAC decoder loses frames where the format changes.
//! What the command decodes with exit status 0 is decoded here, to the same samples. So a damaged packet is skipped
//! and counted, a file that ends early gives what is there, and samples may be louder than full scale. Refused is what
//! the command refuses (no audio stream, a container that cannot be opened, more than two thirds of the packets
//! damaged), and beyond it only what no model can be judged on: no samples at all, values that are not finite, more
//! sound than the limit.

mod array;
mod resample;
mod wave;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;

use std::ffi::c_int;
use std::fs::{self, File};
use std::io::Read;

use ffmpeg_next::Error as FfmpegError;
use ffmpeg_next::error::{EAGAIN, ENOMEM};
use ffmpeg_next::{Packet, decoder, ffi, frame};

pub(crate) use resample::{Resampler, SampleLayout};

use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::{MediaInput, MediaLimits, MediaSource, Medium, no_memory};
use crate::media_file::read_media_file;

/// The share of damaged packets from which the ffmpeg command gives up (`-max_error_rate`).
const MAX_DAMAGED_SHARE: f64 = 2.0 / 3.0;

/// The sampling rates that are made; FFmpeg itself would go on to 2³¹.
const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Files of up to this size leave their memory to the next one.
const MAX_KEPT_FILE_BYTES: usize = 64 << 20;

/// How much sound is decoded at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AudioLimits {
    /// The longest recording, in seconds. It is held against what the header announces (as far as the file is long
    /// enough for it) before anything is allocated, and against what is decoded.
    pub max_seconds: u32,
    /// Packets, and the patience with a hung decoder.
    pub media: MediaLimits,
}

impl Default for AudioLimits {
    /// One hour: at 16 kHz, 230 MB of samples.
    fn default() -> Self {
        Self { max_seconds: 3600, media: MediaLimits::default() }
    }
}

impl AudioLimits {
    fn max_samples(&self, sample_rate: u32) -> usize {
        (u64::from(self.max_seconds) * u64::from(sample_rate)).try_into().unwrap_or(usize::MAX)
    }

    /// Refuses a recording of so many seconds.
    fn check_seconds(&self, seconds: f64) -> Result<(), DecodeError> {
        if seconds <= f64::from(self.max_seconds) { Ok(()) } else { Err(self.too_long()) }
    }

    fn too_long(&self) -> DecodeError {
        DecodeError::TooLong { limit: format!("{} seconds of sound", self.max_seconds) }
    }
}

/// Decodes sound files one after the other; keeps the resampler's filter between them. One per thread.
#[derive(Default)]
pub struct AudioDecoder {
    limits: AudioLimits,
    resampler: Option<Resampler>,
    file: Vec<u8>,
}

impl AudioDecoder {
    /// A decoder with limits of its own.
    pub fn new(limits: AudioLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Decodes a file, told by its content, to mono samples at `sample_rate` Hz; full scale is ±1. `samples` is
    /// cleared first, and keeps its memory; after an error it is empty.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`] for what cannot be read; [`Error::Decode`] for content that the ffmpeg
    /// command refuses as well, that has no samples or some that are not finite, or that is beyond the limits;
    /// [`Error::Argument`] for a rate below 1,000 or above 384,000 Hz.
    pub fn decode(
        &mut self,
        source: MediaSource<'_>,
        sample_rate: u32,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        samples.clear();
        check_sample_rate(sample_rate)?;
        let decoded = match first_bytes(source) {
            Some(start) if array::SIGNATURES.contains(&start) => {
                self.decode_array(source, sample_rate, samples)
            }
            Some(wave::SIGNATURE) => self.decode_wave(source, sample_rate, samples),
            _ => self.decode_media(source, sample_rate, samples),
        };
        if decoded.is_err() {
            samples.clear();
        }
        if self.file.capacity() > MAX_KEPT_FILE_BYTES {
            self.file = Vec::new();
        }
        decoded
    }

    /// A plain WAV file is read at once; any other one goes on to FFmpeg.
    fn decode_wave(
        &mut self,
        source: MediaSource<'_>,
        sample_rate: u32,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        let bytes = match source {
            MediaSource::Bytes(bytes) => bytes,
            MediaSource::Path(path) if path.metadata().is_ok_and(|it| it.len() <= wave::MAX_FILE_BYTES) => {
                read_media_file(path, &mut self.file)?;
                &self.file
            }
            MediaSource::Path(_) => &[],
        };
        let Some(plain) = wave::parse(bytes) else {
            return self.decode_media(source, sample_rate, samples);
        };
        let refused = |reason| Error::decode(source.path(), reason);
        self.limits.check_seconds(plain.seconds).map_err(refused)?;
        let failed = |error| refused(not_resampled(error, wave::FORMAT, plain.data.len()));
        let resampled = prepare(&mut self.resampler, plain.layout, sample_rate).and_then(|resampler| {
            for packet in plain.data.chunks(wave::PACKET_BYTES) {
                resampler.convert_interleaved(packet, samples)?;
            }
            resampler.finish(samples)
        });
        resampled.map_err(failed)?;
        check_samples(samples, wave::FORMAT, sample_rate).map_err(refused)
    }

    fn decode_array(
        &mut self,
        source: MediaSource<'_>,
        sample_rate: u32,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        let refused = |reason| Error::decode(source.path(), reason);
        let array = array::read(source, &self.limits, &mut self.file)?;
        let layout = SampleLayout::interleaved(array.format, array.channels, array.sample_rate);
        let failed = |error| refused(not_resampled(error, array::FORMAT, array.bytes.len()));
        let resampler = prepare(&mut self.resampler, layout, sample_rate).map_err(failed)?;
        // In pieces, so that no length overflows libswresample's.
        for piece in array.bytes.chunks(array.bytes_per_sample() << 16) {
            resampler.convert_interleaved(piece, samples).map_err(failed)?;
        }
        resampler.finish(samples).map_err(failed)?;
        check_samples(samples, array::FORMAT, sample_rate).map_err(refused)
    }

    fn decode_media(
        &mut self,
        source: MediaSource<'_>,
        sample_rate: u32,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        let mut input = MediaInput::open(source, Medium::Audio, self.limits.media)?;
        let refused = |reason| Error::decode(source.path(), reason);
        if let Some(seconds) = announced_seconds(&input, source)? {
            self.limits.check_seconds(seconds).map_err(refused)?;
        }
        let decoder = input.decoder()?.audio().map_err(|error| input.error(error))?;
        let mut reading = Reading {
            decoder,
            frame: frame::Audio::empty(),
            resampler: &mut self.resampler,
            is_prepared: false,
            sample_rate,
            limits: self.limits,
            frames: 0,
            failures: 0,
        };
        let mut packet = Packet::empty();
        while read(&mut input, &mut packet)? {
            reading.decode_packet(Some(&packet), &input, samples)?;
        }
        reading.decode_packet(None, &input, samples)?;
        let (frames, failures) = (reading.frames, reading.failures);
        if reading.is_prepared {
            // As long as anything was decoded.
            if let Some(resampler) = &mut self.resampler {
                resampler.finish(samples).map_err(|error| input.error(error))?;
            }
        }
        let format = input.format();
        if ((frames + failures) as f64) * MAX_DAMAGED_SHARE < failures as f64 {
            let reason = format!("{failures} packets are damaged and {frames} are not");
            return Err(refused(DecodeError::Corrupt { format, reason }));
        }
        check_samples(samples, format, sample_rate).map_err(refused)
    }
}

/// The first bytes of a source; none if it is shorter or cannot be read, which is reported elsewhere.
fn first_bytes(source: MediaSource<'_>) -> Option<[u8; 4]> {
    let mut start = [0; 4];
    match source {
        MediaSource::Bytes(bytes) => bytes.first_chunk().copied(),
        MediaSource::Path(path) => {
            // Opening a pipe would wait for a writer.
            let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
            let mut file = if is_file { File::open(path).ok()? } else { return None };
            file.read_exact(&mut start).ok().map(|()| start)
        }
    }
}

/// The next packet; a container that is damaged from here on ends here, as for the ffmpeg command.
fn read(input: &mut MediaInput, packet: &mut Packet) -> Result<bool> {
    match input.read(packet) {
        Err(Error::Decode { reason: DecodeError::Corrupt { reason, .. }, path }) => {
            tracing::info!("{}: the rest cannot be read: {reason}", path.display());
            Ok(false)
        }
        Err(Error::Decode { reason: DecodeError::Truncated { .. }, .. }) => Ok(false),
        other => other,
    }
}

/// One file on its way.
struct Reading<'a> {
    decoder: decoder::Audio,
    frame: frame::Audio,
    resampler: &'a mut Option<Resampler>,
    /// Whether the resampler holds this file's samples.
    is_prepared: bool,
    sample_rate: u32,
    limits: AudioLimits,
    frames: u64,
    failures: u64,
}

impl Reading<'_> {
    /// Decodes a packet, or what is left after the last one.
    fn decode_packet(
        &mut self,
        packet: Option<&Packet>,
        input: &MediaInput,
        samples: &mut Vec<f32>,
    ) -> Result<()> {
        let sent = match packet {
            Some(packet) => self.decoder.send_packet(packet),
            None => self.decoder.send_eof(),
        };
        match sent {
            Ok(()) | Err(FfmpegError::Eof) => {}
            Err(error) => return self.note(error, input),
        }
        loop {
            input.check_watch()?;
            match self.decoder.receive_frame(&mut self.frame) {
                Ok(()) => {
                    self.frames += 1;
                    self.resample(input, samples)?;
                }
                Err(FfmpegError::Eof | FfmpegError::Other { errno: EAGAIN }) => return Ok(()),
                Err(error) => return self.note(error, input),
            }
        }
    }

    /// Counts a packet that could not be decoded; lack of memory is no fault of the packet.
    fn note(&mut self, error: FfmpegError, input: &MediaInput) -> Result<()> {
        self.failures += 1;
        match error {
            FfmpegError::Other { errno: ENOMEM } => Err(input.error(error)),
            _ => Ok(()),
        }
    }

    fn resample(&mut self, input: &MediaInput, samples: &mut Vec<f32>) -> Result<()> {
        let refused = |reason| Error::decode(input.path(), reason);
        let layout = SampleLayout::of_frame(&self.frame).ok_or_else(|| {
            let reason =
                format!("its {} channels have no known layout to mix them by", self.frame.channels());
            refused(DecodeError::Unsupported { format: input.format(), reason })
        })?;
        let fits = self.resampler.as_ref().is_some_and(|it| it.fits(&layout, self.sample_rate));
        if !self.is_prepared || !fits {
            // Where the format changes in mid-file, the command drops what its resampler still holds.
            prepare(self.resampler, layout, self.sample_rate).map_err(|error| input.error(error))?;
            self.is_prepared = true;
        }
        if let Some(resampler) = self.resampler {
            resampler.convert(&self.frame, samples).map_err(|error| input.error(error))?;
        }
        // A frame's rounding and the resampler's ring may add a little to what fits.
        let slack = self.sample_rate as usize;
        if samples.len() > self.limits.max_samples(self.sample_rate) + slack {
            return Err(refused(self.limits.too_long()));
        }
        Ok(())
    }
}

/// Why samples, so many bytes of them, could not be resampled.
fn not_resampled(error: FfmpegError, format: &'static str, bytes: usize) -> DecodeError {
    match error {
        FfmpegError::Other { errno: ENOMEM } => no_memory(format, bytes),
        other => DecodeError::Corrupt { format, reason: format!("it cannot be resampled: {other}") },
    }
}

/// The resampler for a layout, as good as new.
fn prepare(
    resampler: &mut Option<Resampler>,
    layout: SampleLayout,
    sample_rate: u32,
) -> Result<&mut Resampler, FfmpegError> {
    let ready = match resampler.take() {
        Some(mut known) if known.fits(&layout, sample_rate) => {
            known.restart()?;
            known
        }
        _ => Resampler::new(layout, sample_rate)?,
    };
    Ok(resampler.insert(ready))
}

/// How long the header says that the sound is, as far as the file has bytes for it; none if it says nothing.
///
/// Programs that write to a pipe leave a fantastic length in a WAV's header: it is no reason to refuse the file.
#[allow(unsafe_code)]
fn announced_seconds(input: &MediaInput, source: MediaSource<'_>) -> Result<Option<f64>> {
    let stream = input.stream()?;
    if stream.duration() <= 0 {
        return Ok(None);
    }
    let announced = stream.duration() as f64 * f64::from(stream.time_base());
    let parameters = stream.parameters();
    // SAFETY: the parameters are alive, and the codec is one that FFmpeg itself has found.
    let bits_a_second = unsafe {
        let parameters = &*parameters.as_ptr();
        let bits = ffi::av_get_bits_per_sample(parameters.codec_id);
        f64::from(bits) * f64::from(parameters.ch_layout.nb_channels) * f64::from(parameters.sample_rate)
    };
    let bytes = match source {
        MediaSource::Bytes(bytes) => bytes.len() as u64,
        MediaSource::Path(path) => fs::metadata(path).map_err(|error| Error::io(path, error))?.len(),
    };
    let possible = if bits_a_second > 0.0 { bytes as f64 * 8.0 / bits_a_second } else { f64::INFINITY };
    Ok(Some(announced.min(possible)))
}

/// What the header of a sound file says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AudioHeader {
    /// How long it lasts; none where the header does not say.
    pub seconds: Option<f64>,
    /// FFmpeg's name of the codec; `npz` for NumPy archives.
    pub codec: String,
}

/// Reads the header of a sound file, told by its content.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Io`] for what cannot be read; [`Error::Decode`] for what is no sound file, or longer
/// than [`AudioLimits`] allow.
pub(crate) fn read_header(source: MediaSource<'_>) -> Result<AudioHeader> {
    let limits = AudioLimits::default();
    if first_bytes(source).is_some_and(|start| array::SIGNATURES.contains(&start)) {
        let seconds = array::seconds(source, &limits)?;
        return Ok(AudioHeader { seconds: Some(seconds), codec: array::FORMAT.to_lowercase() });
    }
    let input = MediaInput::open(source, Medium::Audio, limits.media)?;
    let announced = announced_seconds(&input, source)?;
    if let Some(seconds) = announced {
        limits.check_seconds(seconds).map_err(|reason| Error::decode(source.path(), reason))?;
    }
    let seconds = announced.or_else(|| input.seconds());
    let codec = input.stream()?.parameters().id().name().to_owned();
    Ok(AudioHeader { seconds, codec })
}

/// Refuses a rate that is not made.
///
/// # Errors
/// [`Error::Argument`].
pub(crate) fn check_sample_rate(sample_rate: u32) -> Result<()> {
    if SAMPLE_RATES.contains(&sample_rate) && c_int::try_from(sample_rate).is_ok() {
        return Ok(());
    }
    let reason =
        format!("{sample_rate} Hz is not between {} and {}", SAMPLE_RATES.start(), SAMPLE_RATES.end());
    Err(Error::argument("sample_rate", reason))
}

/// Refuses what no model can be judged on: nothing, and values that are not finite.
fn check_samples(samples: &[f32], format: &'static str, sample_rate: u32) -> Result<(), DecodeError> {
    if samples.is_empty() {
        let reason = "there is no sound in it, or too little of it for a single sample".to_owned();
        return Err(DecodeError::NothingDecoded { format, reason });
    }
    // Without an early end, so that many samples are looked at side by side.
    if samples.iter().fold(true, |all, sample| all & sample.is_finite()) {
        return Ok(());
    }
    let position = samples.iter().position(|sample| !sample.is_finite()).unwrap_or(0);
    let seconds = position as f64 / f64::from(sample_rate);
    let reason = format!("the sample at {seconds:.4} seconds is {}, not a number", samples[position]);
    Err(DecodeError::Corrupt { format, reason })
}
