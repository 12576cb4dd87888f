//! An opened media file: one stream of it, packet by packet.

use std::ffi::c_int;
use std::fmt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffmpeg_next::codec::decoder::Decoder;
use ffmpeg_next::codec::{self, threading};
use ffmpeg_next::format::context::{Input, StreamIo};
use ffmpeg_next::format::stream::Disposition;
use ffmpeg_next::util::interrupt;
use ffmpeg_next::{Dictionary, Error as FfmpegError, Packet, Stream, ffi, media};

use super::reader::{Failure, Reader, first_bytes};
use super::refusal::refusal;
use super::{MediaSource, format, initialise, log};
use crate::decode::ImageFormat;
use crate::error::{DecodeError, Error, Result};

/// FFmpeg's own buffer size for files.
const BUFFER_BYTES: usize = 32 << 10;

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Its pictures; the cover of a song is none.
    Video,
    /// Its sound.
    Audio,
}

impl Medium {
    fn kind(self) -> media::Type {
        match self {
            Self::Video => media::Type::Video,
            Self::Audio => media::Type::Audio,
        }
    }

    /// The word for it in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How much of a file is read at most, whatever its header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaLimits {
    /// Packets of all streams together.
    pub max_packets: u64,
    /// The largest picture, in pixels; larger ones are refused before they are allocated.
    pub max_pixels: u64,
    /// The longest time without a single packet or frame; it ends what hangs and says nothing about the content.
    pub patience: Duration,
}

impl Default for MediaLimits {
    /// 16 million packets (more than three days of video at 60 Hz), 2^26 pixels (8192 x 8192), and two minutes.
    fn default() -> Self {
        Self { max_packets: 1 << 24, max_pixels: 1 << 26, patience: Duration::from_secs(120) }
    }
}

/// When there was progress last, shared with the callback that interrupts FFmpeg.
#[derive(Clone)]
struct Watch {
    opened: Instant,
    last_progress_nanos: Arc<AtomicU64>,
    patience: Duration,
}

impl Watch {
    fn start(patience: Duration) -> Self {
        Self { opened: Instant::now(), last_progress_nanos: Arc::default(), patience }
    }

    fn progress(&self) {
        self.last_progress_nanos.store(self.opened.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        let last = Duration::from_nanos(self.last_progress_nanos.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(last) > self.patience
    }
}

/// An opened media file, of which one stream is read.
pub struct MediaInput {
    input: Input,
    path: PathBuf,
    /// How errors call the container.
    format: &'static str,
    stream: usize,
    limits: MediaLimits,
    packets: u64,
    watch: Watch,
    failure: Failure,
}

impl fmt::Debug for MediaInput {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = formatter.debug_struct("MediaInput");
        fields.field("path", &self.path).field("format", &self.format).field("stream", &self.stream);
        fields.finish_non_exhaustive()
    }
}

impl MediaInput {
    /// Opens a source by its content and picks the stream that FFmpeg thinks best; its other streams are not read.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Io`] for what cannot be read, folders and pipes included; [`Error::Decode`] for
    /// content that is empty, of no allowed format or damaged, without the stream, or beyond the limits.
    pub fn open(source: MediaSource<'_>, medium: Medium, limits: MediaLimits) -> Result<Self> {
        initialise();
        log::forget_complaints();
        let path = source.path();
        let reader = Reader::open(source)?;
        let failure = reader.failure();
        let watch = Watch::start(limits.patience);
        let failed = |error| explain(path, &failure, &watch, || cannot_open(source, medium, error));
        let mut input = open_header(reader, watch.clone()).map_err(failed)?;
        if medium == Medium::Video {
            check_pictures(&input, limits.max_pixels).map_err(|reason| Error::decode(path, reason))?;
        }
        find_stream_info(&mut input, limits.max_pixels).map_err(failed)?;
        let format = format::display_name(input.format().name());
        let stream = best_stream(&input, medium, format).map_err(|reason| Error::decode(path, reason))?;
        let mut input =
            Self { input, path: path.to_path_buf(), format, stream, limits, packets: 0, watch, failure };
        input.discard_other_streams();
        input.watch.progress();
        Ok(input)
    }

    /// The file, as errors name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What errors call the container, for example `MP4/QuickTime`.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// The stream that is read.
    ///
    /// # Errors
    /// [`Error::Decode`] if the container has lost it meanwhile.
    pub fn stream(&self) -> Result<Stream<'_>> {
        let lost = || self.error(FfmpegError::StreamNotFound);
        self.input.stream(self.stream).ok_or_else(lost)
    }

    /// The limits that it was opened with.
    pub fn limits(&self) -> &MediaLimits {
        &self.limits
    }

    /// Width and height of its pictures in pixels, as the container announces them; zeros for sound.
    pub fn picture_size(&self) -> (u32, u32) {
        self.input.stream(self.stream).map_or((0, 0), |stream| picture_size(&stream))
    }

    /// How long the container says that it lasts, if it does.
    pub fn seconds(&self) -> Option<f64> {
        let seconds = self.input.duration() as f64 / f64::from(ffi::AV_TIME_BASE);
        (seconds > 0.0).then_some(seconds)
    }

    /// A decoder for the stream, to be opened: one thread, and no pictures over the limit.
    ///
    /// # Errors
    /// [`Error::Decode`] if the stream's parameters make no sense.
    #[allow(unsafe_code)]
    pub fn decoder(&self) -> Result<Decoder> {
        let stream = self.stream()?;
        let context = codec::Context::from_parameters(stream.parameters());
        let mut decoder = context.map_err(|error| self.error(error))?.decoder();
        decoder.set_threading(threading::Config { count: 1, ..threading::Config::default() });
        decoder.set_packet_time_base(stream.time_base());
        // SAFETY: the context is alive, not opened yet, and nobody else's.
        unsafe { (*decoder.as_mut_ptr()).max_pixels = self.limits.max_pixels as i64 };
        Ok(decoder)
    }

    /// Reads the stream's next packet; false at the end of the file.
    ///
    /// # Errors
    /// [`Error::Decode`] for damaged content, or when a limit is passed; [`Error::Io`] if the file cannot be read on.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool> {
        loop {
            // What av_read_frame fills must be empty before.
            *packet = Packet::empty();
            self.check_watch()?;
            match packet.read(&mut self.input) {
                Ok(()) => {}
                Err(FfmpegError::Eof) => return Ok(false),
                Err(error) => return Err(self.error(error)),
            }
            self.packets += 1;
            if self.packets > self.limits.max_packets {
                let limit = format!("{} packets", self.limits.max_packets);
                return Err(Error::decode(&self.path, DecodeError::TooLong { limit }));
            }
            if packet.stream() == self.stream {
                self.watch.progress();
                return Ok(true);
            }
        }
    }

    /// Says that there is progress where packets are taken from elsewhere than [`Self::read`].
    pub fn note_progress(&self) {
        self.watch.progress();
    }

    /// Ends what takes too long; to be asked wherever a decoder is driven without reading packets.
    ///
    /// # Errors
    /// [`Error::Decode`] with [`DecodeError::TimedOut`].
    pub fn check_watch(&self) -> Result<()> {
        if self.watch.is_over() { Err(self.timed_out()) } else { Ok(()) }
    }

    /// An error of FFmpeg's, about this file.
    pub fn error(&self, error: FfmpegError) -> Error {
        explain(&self.path, &self.failure, &self.watch, || refusal(error, self.format, self.buffer_bytes()))
    }

    fn timed_out(&self) -> Error {
        Error::decode(&self.path, DecodeError::TimedOut { seconds: self.limits.patience.as_secs() })
    }

    /// A buffer of four bytes a pixel, or of what a packet of sound decodes to.
    fn buffer_bytes(&self) -> usize {
        const SOUND_BYTES: usize = 1 << 16;
        let (width, height) = self.picture_size();
        (width as usize).saturating_mul(height as usize).saturating_mul(4).max(SOUND_BYTES)
    }

    #[allow(unsafe_code)]
    fn discard_other_streams(&mut self) {
        let wanted = self.stream;
        for (index, mut stream) in self.input.streams_mut().enumerate() {
            if index != wanted {
                // SAFETY: the stream belongs to the input, which is borrowed mutably here.
                unsafe { (*stream.as_mut_ptr()).discard = ffi::AVDiscard::AVDISCARD_ALL };
            }
        }
    }
}

/// The I/O error behind a failure of FFmpeg's, or its impatience, or what it found in the content.
fn explain(path: &Path, failure: &Failure, watch: &Watch, reason: impl FnOnce() -> DecodeError) -> Error {
    let failure = failure.lock().ok().and_then(|mut failure| failure.take());
    match failure {
        Some(error) => Error::io(path, error),
        None if watch.is_over() => {
            Error::decode(path, DecodeError::TimedOut { seconds: watch.patience.as_secs() })
        }
        None => Error::decode(path, reason()),
    }
}

/// Why a source could not be opened: of no known format, or of one that is damaged.
fn cannot_open(source: MediaSource<'_>, medium: Medium, error: FfmpegError) -> DecodeError {
    let bytes = first_bytes(source);
    match format::recognise(&bytes) {
        Some(format) => refusal(error, format, BUFFER_BYTES),
        None => match ImageFormat::sniff(&bytes) {
            Ok(image) => {
                DecodeError::UnknownFormat { medium: medium.name(), found: format!("a {image} image") }
            }
            Err(DecodeError::UnknownFormat { found, .. }) => {
                DecodeError::UnknownFormat { medium: medium.name(), found }
            }
            Err(other) => other,
        },
    }
}

/// The stream of a medium that FFmpeg thinks best.
fn best_stream(input: &Input, medium: Medium, format: &'static str) -> Result<usize, DecodeError> {
    let is_cover = |stream: &Stream<'_>| stream.disposition().contains(Disposition::ATTACHED_PIC);
    let best = match medium {
        Medium::Video => input.streams().best(medium.kind()).filter(|stream| !is_cover(stream)),
        Medium::Audio => best_audio_stream(input),
    };
    if let Some(stream) = best {
        return Ok(stream.index());
    }
    let kinds = input.streams().filter(|stream| !is_cover(stream));
    let mut kinds: Vec<String> =
        kinds.map(|stream| format!("{:?}", stream.parameters().medium()).to_lowercase()).collect();
    kinds.sort();
    kinds.dedup();
    let found = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(" and ") };
    Err(DecodeError::NoStream { medium: medium.name(), format, found })
}

/// The audio stream that the ffmpeg command takes unasked: one of which packets were seen, then one that is marked as
/// the default, then the one with the most channels, then the first.
#[allow(unsafe_code)]
fn best_audio_stream(input: &Input) -> Option<Stream<'_>> {
    let mut best = None;
    for stream in input.streams().filter(|it| it.parameters().medium() == media::Type::Audio) {
        // SAFETY: the stream and its parameters are alive and only read.
        let (channels, has_packets) = unsafe {
            let stream = &*stream.as_ptr();
            let seen = ffi::AVSTREAM_EVENT_FLAG_NEW_PACKETS as c_int;
            ((*stream.codecpar).ch_layout.nb_channels, stream.event_flags & seen != 0)
        };
        let is_default = stream.disposition().contains(Disposition::DEFAULT);
        let rank = (has_packets, is_default, channels);
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, stream));
        }
    }
    best.map(|(_, stream)| stream)
}

/// Opens a reader's content; no other file and no network is ever opened on its behalf.
#[allow(unsafe_code)]
fn open_header(reader: Reader, watch: Watch) -> Result<Input, FfmpegError> {
    let mut stream = StreamIo::from_read_seek_with_capacity(reader, BUFFER_BYTES)?;
    let interrupt = interrupt::new(Box::new(move || watch.is_over()));
    let mut options = Dictionary::new();
    options.set("format_whitelist", &format::allowed());
    options.set("protocol_whitelist", "none");

    // SAFETY: the context is fresh and ours alone. `avformat_open_input` frees it when it fails, and leaves the
    // stream's own I/O context alone because of the flag. The dictionary is owned again by the value that frees it.
    unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(FfmpegError::Other { errno: ffmpeg_next::error::ENOMEM });
        }
        (*context).interrupt_callback = interrupt.interrupt;
        (*context).io_open = Some(refuse_to_open);
        (*context).pb = stream.as_mut_ptr();
        (*context).flags |= ffi::AVFMT_FLAG_CUSTOM_IO;
        let mut options = options.disown();
        let opened = ffi::avformat_open_input(&mut context, c"".as_ptr(), ptr::null(), &mut options);
        drop(Dictionary::own(options));
        if opened < 0 {
            return Err(FfmpegError::from(opened));
        }
        Ok(Input::wrap_with_custom_io_and_interrupt(context, stream, interrupt.guard))
    }
}

/// Refuses pictures that the header says are too large; FFmpeg forgets their size once it has refused them itself.
fn check_pictures(input: &Input, max_pixels: u64) -> Result<(), DecodeError> {
    for stream in input.streams() {
        let (width, height) = picture_size(&stream);
        let (width, height) = (u64::from(width), u64::from(height));
        if width * height > max_pixels {
            return Err(DecodeError::TooLarge {
                width,
                height,
                limit: format!("{max_pixels} pixels in all"),
            });
        }
    }
    Ok(())
}

/// Width and height of a stream's pictures in pixels, zeros for sound.
#[allow(unsafe_code)]
fn picture_size(stream: &Stream<'_>) -> (u32, u32) {
    let parameters = stream.parameters();
    // SAFETY: the parameters live as long as the value that they are read from.
    let (width, height) = unsafe { ((*parameters.as_ptr()).width, (*parameters.as_ptr()).height) };
    (width.try_into().unwrap_or(0), height.try_into().unwrap_or(0))
}

/// Reads as much as FFmpeg needs to know the streams; it decodes pictures for that, none of them over the limit.
#[allow(unsafe_code)]
fn find_stream_info(input: &mut Input, max_pixels: u64) -> Result<(), FfmpegError> {
    let max_pixels = max_pixels.to_string();
    let of_a_stream = || {
        let mut options = Dictionary::new();
        options.set("max_pixels", &max_pixels);
        options
    };
    // SAFETY: there is one dictionary for each of the streams there are now, as the call demands; each is owned
    // again by the value that frees it, whatever the call has left in it.
    let found = unsafe {
        let mut options: Vec<_> = input.streams().map(|_| of_a_stream().disown()).collect();
        let found = ffi::avformat_find_stream_info(input.as_mut_ptr(), options.as_mut_ptr());
        options.into_iter().for_each(|options| drop(Dictionary::own(options)));
        found
    };
    if found < 0 { Err(FfmpegError::from(found)) } else { Ok(()) }
}

/// What a demuxer gets that asks for another file.
#[allow(unsafe_code)]
unsafe extern "C" fn refuse_to_open(
    _: *mut ffi::AVFormatContext,
    _: *mut *mut ffi::AVIOContext,
    _: *const std::ffi::c_char,
    _: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    FfmpegError::ProtocolNotFound.into()
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
