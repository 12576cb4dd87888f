//! NumPy archives: the arrays `audio` and `sr` of an `.npz` file.
//!
//! `audio` is `float32`, `float64`, `int16` or `int32`, of one axis or of two; of two axes the shorter one counts the
//! channels (the first if they are equal), and there are at most eight. Integers are full scale, as in a WAV file.
//! `sr` is one number, the sampling rate in Hz; without it the rate is 16 kHz. Nothing is unpickled.

use std::io::{Cursor, ErrorKind, Read};

use ffmpeg_next::ffi::AVSampleFormat;
use zip::ZipArchive;
use zip::result::ZipError;

use super::AudioLimits;
use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::MediaSource;
use crate::media_file::read_media_file;

/// What errors call these files.
pub const FORMAT: &str = "NPZ";

/// The rate of arrays that come without one, as where arrays are read from Parquet.
const DEFAULT_SAMPLE_RATE: u32 = 16_000;

/// How a ZIP archive begins, an empty one included.
pub const SIGNATURES: [[u8; 4]; 2] = [*b"PK\x03\x04", *b"PK\x05\x06"];

/// How the content of an NPY file begins; two bytes of version follow.
const NPY_SIGNATURE: &[u8] = b"\x93NUMPY";

/// The longest header that is read; NumPy's own are 128 bytes.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// Larger arrays are refused before their content is read: some KiB of a compressed archive may stand for GiB.
const MAX_ARRAY_BYTES: usize = 1 << 30;

/// The most channels that have a usual layout.
const MAX_CHANNELS: usize = 8;

/// Interleaved samples of one of libswresample's formats.
pub struct AudioArray {
    /// The type of one number.
    pub format: AVSampleFormat,
    /// Numbers a sample.
    pub channels: usize,
    /// In Hz.
    pub sample_rate: u32,
    /// `samples * channels` numbers in the machine's byte order.
    pub bytes: Vec<u8>,
}

impl AudioArray {
    /// Bytes of all channels of a sample.
    pub fn bytes_per_sample(&self) -> usize {
        self.channels * width(self.format)
    }
}

/// A file whose content cannot be used, and why.
pub fn unusable(reason: impl Into<String>) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason: reason.into() }
}

/// Reads the arrays of an NPZ file; `buffer` holds the file's bytes meanwhile.
///
/// # Errors
/// [`Error::Io`] for a file that cannot be read, [`Error::Decode`] for content that is not as described above.
pub fn read(source: MediaSource<'_>, limits: &AudioLimits, buffer: &mut Vec<u8>) -> Result<AudioArray> {
    let bytes = match source {
        MediaSource::Bytes(bytes) => bytes,
        MediaSource::Path(path) => {
            read_media_file(path, buffer)?;
            buffer.as_slice()
        }
    };
    parse(bytes, limits).map_err(|reason| Error::decode(source.path(), reason))
}

/// How long the arrays of an NPZ file last, by their headers; errors as in [`read`].
pub fn seconds(source: MediaSource<'_>, limits: &AudioLimits) -> Result<f64> {
    let mut buffer = Vec::new();
    let bytes = match source {
        MediaSource::Bytes(bytes) => bytes,
        MediaSource::Path(path) => {
            read_media_file(path, &mut buffer)?;
            buffer.as_slice()
        }
    };
    let announced = || {
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| unusable(error.to_string()))?;
        let sample_rate = sample_rate(&mut archive)?;
        let audio = member(&mut archive, "audio", |header, _| {
            header.sample_format()?;
            let seconds = header.channels()?.1 as f64 / f64::from(sample_rate);
            limits.check_seconds(seconds).map(|()| seconds)
        })?;
        audio.ok_or_else(|| no_audio(&archive))
    };
    announced().map_err(|reason| Error::decode(source.path(), reason))
}

fn parse(bytes: &[u8], limits: &AudioLimits) -> Result<AudioArray, DecodeError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| unusable(error.to_string()))?;
    let sample_rate = sample_rate(&mut archive)?;
    let audio = member(&mut archive, "audio", |header, content| {
        let (channels, samples, channels_first) = header.channels()?;
        limits.check_seconds(samples as f64 / f64::from(sample_rate))?;
        let format = header.sample_format()?;
        let length = header.bytes()?;
        if length > MAX_ARRAY_BYTES {
            let limit = format!("{MAX_ARRAY_BYTES} bytes of numbers");
            return Err(DecodeError::TooLong { limit });
        }
        let bytes = read_exact(content, length)?;
        let bytes = header.interleave(bytes, channels, channels_first)?;
        Ok(AudioArray { format, channels, sample_rate, bytes })
    })?;
    audio.ok_or_else(|| no_audio(&archive))
}

/// The array `sr`, or what stands for it.
fn sample_rate(archive: &mut ZipArchive<Cursor<&[u8]>>) -> Result<u32, DecodeError> {
    match member(archive, "sr", |header, content| {
        if header.shape.iter().product::<usize>() != 1 {
            return Err(unusable(format!("sr has the shape {:?}; one number is expected", header.shape)));
        }
        read_exact(content, header.bytes()?).and_then(|bytes| header.only_number(&bytes))
    })? {
        Some(rate) if rate.fract() == 0.0 && (1.0..=f64::from(i32::MAX)).contains(&rate) => Ok(rate as u32),
        Some(rate) => Err(unusable(format!("sr is {rate}, which is no sampling rate"))),
        None => Ok(DEFAULT_SAMPLE_RATE),
    }
}

fn no_audio(archive: &ZipArchive<Cursor<&[u8]>>) -> DecodeError {
    let names: Vec<_> =
        archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_owned()).collect();
    let found = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    unusable(format!("there is no array audio in it, but {found}"))
}

/// Reads an array of the archive; none if it is not there.
fn member<T>(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    read: impl FnOnce(&Header, &mut dyn Read) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    let mut content = match archive.by_name(&format!("{name}.npy")) {
        Ok(content) => content,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(unusable(format!("{name}: {error}"))),
    };
    Header::read(&mut content).and_then(|header| read(&header, &mut content)).map(Some).map_err(|reason| {
        match reason {
            DecodeError::Corrupt { format, reason } => {
                DecodeError::Corrupt { format, reason: format!("{name}: {reason}") }
            }
            other => other,
        }
    })
}

/// Reads so many bytes; no more memory is taken than there is content for.
fn read_exact(content: &mut dyn Read, length: usize) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::OutOfMemory => DecodeError::OutOfMemory { bytes: length },
        _ => unusable(error.to_string()),
    };
    content.take(length as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() != length {
        let reason = format!("the header announces {length} bytes and {} are there", bytes.len());
        return Err(DecodeError::Truncated { format: FORMAT, reason });
    }
    Ok(bytes)
}

/// The header of an NPY file (NumPy's format 1.0 to 3.0).
struct Header {
    /// The type of one number, for example `<f4`.
    kind: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn read(content: &mut dyn Read) -> Result<Self, DecodeError> {
        let start = read_exact(content, NPY_SIGNATURE.len() + 2)?;
        let (signature, version) = start.split_at(NPY_SIGNATURE.len());
        if signature != NPY_SIGNATURE {
            return Err(unusable("it is no NPY array"));
        }
        let length = match version[0] {
            1 => read_exact(content, 2)?,
            2 | 3 => read_exact(content, 4)?,
            other => return Err(unusable(format!("version {other} of the NPY format is not known"))),
        };
        let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
        if length > MAX_HEADER_BYTES {
            return Err(unusable(format!(
                "a header of {length} bytes is over the limit of {MAX_HEADER_BYTES}"
            )));
        }
        let header = read_exact(content, length)?;
        let header = String::from_utf8_lossy(&header);
        Self::parse(&header)
            .ok_or_else(|| unusable(format!("its header is not understood: {}", header.trim())))
    }

    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 100), }`.
    fn parse(header: &str) -> Option<Self> {
        let value = |key: &str| header.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start());
        let kind = value("descr")?.strip_prefix('\'')?.split_once('\'')?.0.to_owned();
        let order = value("fortran_order")?;
        let fortran_order = if order.starts_with("True") {
            true
        } else if order.starts_with("False") {
            false
        } else {
            return None;
        };
        let sides = value("shape")?.strip_prefix('(')?.split_once(')')?.0;
        let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
        let shape = sides.map(|side| side.parse().ok()).collect::<Option<Vec<usize>>>()?;
        Some(Self { kind, fortran_order, shape })
    }

    /// Byte order and type, for example `<` and `f4`.
    fn order_and_type(&self) -> (&str, &str) {
        match self.kind.strip_prefix(['<', '>', '=', '|']) {
            Some(kind) => (&self.kind[..1], kind),
            None => ("=", &self.kind),
        }
    }

    /// Bytes of one number.
    fn width(&self) -> Result<usize, DecodeError> {
        let (_, kind) = self.order_and_type();
        let width = kind.strip_prefix(['f', 'i', 'u']).and_then(|width| width.parse().ok());
        width.filter(|width| matches!(width, 1 | 2 | 4 | 8)).ok_or_else(|| {
            unusable(format!(
                "numbers of the type {} are not read; float32, float64, int16 and int32 are",
                self.kind
            ))
        })
    }

    /// Bytes of all numbers.
    fn bytes(&self) -> Result<usize, DecodeError> {
        let numbers = self.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        numbers.and_then(|numbers| numbers.checked_mul(self.width().ok()?)).map_or_else(
            || self.width().and(Err(unusable(format!("the shape {:?} is impossible", self.shape)))),
            Ok,
        )
    }

    /// Channels, samples, and whether the channels are the first axis.
    fn channels(&self) -> Result<(usize, usize, bool), DecodeError> {
        let (channels, samples, first) = match self.shape[..] {
            [samples] => (1, samples, false),
            [first, second] if first <= second => (first, second, true),
            [first, second] => (second, first, false),
            _ => {
                let reason = format!("the shape {:?} has neither one axis nor two", self.shape);
                return Err(unusable(reason));
            }
        };
        // An array without samples has no channels either; that is said elsewhere.
        if channels > MAX_CHANNELS {
            let reason = format!(
                "the shape {:?} has {channels} channels, and {MAX_CHANNELS} is the limit",
                self.shape
            );
            return Err(unusable(reason));
        }
        Ok((channels.max(1), samples, first))
    }

    fn sample_format(&self) -> Result<AVSampleFormat, DecodeError> {
        match self.order_and_type().1 {
            "f4" => Ok(AVSampleFormat::AV_SAMPLE_FMT_FLT),
            "f8" => Ok(AVSampleFormat::AV_SAMPLE_FMT_DBL),
            "i2" => Ok(AVSampleFormat::AV_SAMPLE_FMT_S16),
            "i4" => Ok(AVSampleFormat::AV_SAMPLE_FMT_S32),
            _ => Err(unusable(format!(
                "numbers of the type {} are not read; float32, float64, int16 and int32 are",
                self.kind
            ))),
        }
    }

    /// Puts the channels of every sample side by side, in the machine's byte order.
    fn interleave(
        &self,
        mut bytes: Vec<u8>,
        channels: usize,
        channels_first: bool,
    ) -> Result<Vec<u8>, DecodeError> {
        let width = self.width()?;
        if self.is_foreign() {
            bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        // Rows of channels, in memory, are what has to be turned.
        if channels == 1 || channels_first == self.fortran_order {
            return Ok(bytes);
        }
        let samples = bytes.len() / width / channels;
        let mut turned = Vec::new();
        let no_memory = |_| DecodeError::OutOfMemory { bytes: bytes.len() };
        turned.try_reserve_exact(bytes.len()).map_err(no_memory)?;
        turned.resize(bytes.len(), 0);
        for (channel, plane) in bytes.chunks_exact(samples * width).enumerate() {
            let targets = turned.chunks_exact_mut(channels * width);
            for (target, number) in targets.zip(plane.chunks_exact(width)) {
                target[channel * width..][..width].copy_from_slice(number);
            }
        }
        Ok(turned)
    }

    fn is_foreign(&self) -> bool {
        let foreign = if cfg!(target_endian = "little") { ">" } else { "<" };
        self.order_and_type().0 == foreign
    }

    /// The number of an array of one.
    fn only_number(&self, bytes: &[u8]) -> Result<f64, DecodeError> {
        let mut bytes = bytes.to_vec();
        if self.is_foreign() {
            bytes.reverse();
        }
        let number = match (self.order_and_type().1, &bytes[..]) {
            ("f4", &[a, b, c, d]) => f64::from(f32::from_ne_bytes([a, b, c, d])),
            ("f8", &[a, b, c, d, e, f, g, h]) => f64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            ("i2", &[a, b]) => f64::from(i16::from_ne_bytes([a, b])),
            ("u2", &[a, b]) => f64::from(u16::from_ne_bytes([a, b])),
            ("i4", &[a, b, c, d]) => f64::from(i32::from_ne_bytes([a, b, c, d])),
            ("u4", &[a, b, c, d]) => f64::from(u32::from_ne_bytes([a, b, c, d])),
            ("i8", &[a, b, c, d, e, f, g, h]) => i64::from_ne_bytes([a, b, c, d, e, f, g, h]) as f64,
            ("u8", &[a, b, c, d, e, f, g, h]) => u64::from_ne_bytes([a, b, c, d, e, f, g, h]) as f64,
            _ => return Err(unusable(format!("a number of the type {} is no sampling rate", self.kind))),
        };
        Ok(number)
    }
}

/// Bytes of one number of a format that arrays have.
fn width(format: AVSampleFormat) -> usize {
    match format {
        AVSampleFormat::AV_SAMPLE_FMT_S16 => 2,
        AVSampleFormat::AV_SAMPLE_FMT_DBL => 8,
        _ => 4,
    }
}
