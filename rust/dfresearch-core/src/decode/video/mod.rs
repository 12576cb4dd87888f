//! Video files, and folders of frames, to RGB frames: those that decord 0.6.0 hands to the competition's models.
//!
//! ```text
//!  packets ──► decoder ──► frames in display order ──► is it wanted? ──► upright ──► RGB24 ──► sink(position, frame)
//!  (demuxer)   (1 thread)   0, 1, 2, …                  (FrameSampling)   (matrix)    (swscale)
//! ```
//!
//! What decord does, and so does this: frame `i` is the `i`-th that comes out of the decoder, whatever its time
//! stamp; how many there are is told by the number of packets, so an edit list that hides some frames shortens the
//! clip but not the count; the picture has the size that the container announces, and a frame of another size is
//! scaled to it; the display matrix turns pictures by quarters (a mirroring one counts as a half turn).
//!
//! Two things differ on purpose. Where decord seeks inaccurately, the frames here are those of a decode from start to
//! end. And where decord repeats its last good frame for those that are damaged, the clip is refused, if the damage
//! is not behind the last frame that is wanted.

mod convert;
mod folder;
mod frames;
mod index;
mod rotation;
mod sampling;
mod units;

use ffmpeg_next::{Error as FfmpegError, frame};

pub(crate) use folder::{FRAME_EXTENSIONS, frame_files, frame_number};
pub use sampling::FrameSampling;

use self::convert::{Converter, pack};
use self::folder::FrameFolder;
use self::frames::{FrameStream, NextFrame};
use self::index::{PacketFeed, PacketIndex};
use self::rotation::{Rotation, Turner};
use crate::error::{DecodeError, Error, Result};
use crate::ffmpeg::{MediaInput, MediaLimits, MediaSource, Medium};

/// As many frames as can be asked for of one clip; the competition asks for 64 at most.
pub const MAX_FRAMES: usize = 4096;

/// How much of a clip is decoded at most, whatever its header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoLimits {
    /// Packets, pixels of a frame, and the patience with a decoder that hangs.
    pub media: MediaLimits,
    /// Frames that are decoded to get at those that are wanted.
    pub max_decoded_frames: u64,
}

impl Default for VideoLimits {
    /// [`MediaLimits::default`], and two million decoded frames, nine hours at 60 Hz.
    fn default() -> Self {
        Self { media: MediaLimits::default(), max_decoded_frames: 2_000_000 }
    }
}

/// A decoded frame, valid until the next one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `height * width * 3` bytes, `[H, W, 3]`, RGB.
    pub data: &'a [u8],
}

/// Where frames go: called with the position in the result, from 0, and the frame.
pub type FrameSink<'a> = dyn FnMut(usize, FrameView<'_>) -> Result<()> + 'a;

/// Decodes clips one after the other, each in the thread that asks; keeps converters and buffers between them.
#[derive(Default)]
pub struct VideoDecoder {
    limits: VideoLimits,
    decoded: Option<frame::Video>,
    turner: Turner,
    converter: Converter,
    packed: Vec<u8>,
    folder: FrameFolder,
}

impl std::fmt::Debug for VideoDecoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("VideoDecoder").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl VideoDecoder {
    /// A decoder without buffers; they come with the first clip.
    pub fn new(limits: VideoLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Decodes up to `num_frames` frames of a clip, and hands each to `sink` in order, positions from 0 on.
    ///
    /// Returns how many there were, at least 1; where a clip has fewer than `num_frames`, the caller repeats the last.
    /// The frames of one clip are all of one size. A folder is a clip whose frames are image files, taken in the
    /// order of their leading numbers and one after the other, whatever the sampling.
    ///
    /// # Errors
    /// [`Error::Argument`] for a number of frames that is not from 1 to [`MAX_FRAMES`]; [`Error::NotFound`] and
    /// [`Error::Io`] for what cannot be read; [`Error::Decode`] for what is no video, has no frames, is over the
    /// limits, or is damaged anywhere up to the last frame that is wanted (where [`FrameSampling::Uniform`] leaves
    /// frames out, in what it decodes); and whatever `sink` returns.
    pub fn decode(
        &mut self,
        source: MediaSource<'_>,
        num_frames: usize,
        sampling: FrameSampling,
        sink: &mut FrameSink<'_>,
    ) -> Result<usize> {
        if !(1..=MAX_FRAMES).contains(&num_frames) {
            let reason = format!("must be from 1 to {MAX_FRAMES}, not {num_frames}");
            return Err(Error::argument("num_frames", reason));
        }
        sampling.check()?;
        if let MediaSource::Path(path) = source
            && path.is_dir()
        {
            return self.folder.decode(path, num_frames, &self.limits.media, sink);
        }
        self.decode_file(source, num_frames, sampling, sink)
    }

    fn decode_file(
        &mut self,
        source: MediaSource<'_>,
        num_frames: usize,
        sampling: FrameSampling,
        sink: &mut FrameSink<'_>,
    ) -> Result<usize> {
        let input = MediaInput::open(source, Medium::Video, self.limits.media)?;
        let picture = Picture::announced(&input)?;
        if let Some(wanted) = sampling.steps(num_frames, average_frame_rate(&input)?) {
            let mut stream =
                FrameStream::new(PacketFeed::File(Box::new(input)), self.limits.max_decoded_frames)?;
            let given = self.take_wanted(&mut stream, picture, &wanted, 0, sink)?.given();
            return stream.require_frames(given);
        }

        let index = PacketIndex::read(input)?;
        let wanted = sampling::spread(num_frames, index.packets());
        let mut given = 0;
        if index.allows_skipping() {
            let feed = index.feed(source, self.limits.media)?;
            let mut stream = FrameStream::new(feed, self.limits.max_decoded_frames)?;
            stream.skip_unwanted(&index, &wanted);
            match self.take_wanted(&mut stream, picture, &wanted, 0, sink)? {
                Taken::All(given) => return Ok(given),
                Taken::Until(safe) => given = safe,
            }
        }
        let feed = index.feed(source, self.limits.media)?;
        let mut stream = FrameStream::new(feed, self.limits.max_decoded_frames)?;
        let given = self.take_wanted(&mut stream, picture, &wanted, given, sink)?.given();
        stream.require_frames(given)
    }

    /// Hands the wanted frames of a stream to `sink`, from the position `given` on: those before were handed over by
    /// an earlier attempt.
    fn take_wanted(
        &mut self,
        stream: &mut FrameStream<'_>,
        picture: Picture,
        wanted: &[u64],
        mut given: usize,
        sink: &mut FrameSink<'_>,
    ) -> Result<Taken> {
        let decoded = self.decoded.get_or_insert_with(frame::Video::empty);
        while let Some(&next) = wanted.get(given) {
            stream.advance(next)?;
            match stream.next(decoded)? {
                NextFrame::Number(number) if number < next => continue,
                NextFrame::Number(number) if number == next => {}
                NextFrame::Number(_) | NextFrame::Unknown | NextFrame::End => return Ok(Taken::Until(given)),
            }
            let view = picture.render(decoded, &mut self.turner, &mut self.converter, &mut self.packed);
            let view = view.map_err(|error| stream.error(error))?;
            // A short clip has some of its frames in several places.
            while wanted.get(given) == Some(&next) {
                sink(given, view)?;
                given += 1;
            }
        }
        Ok(Taken::All(given))
    }
}

/// How far the wanted frames were handed over.
enum Taken {
    /// To the end: so many.
    All(usize),
    /// So many, and then the stream ended or was not what its packets promised.
    Until(usize),
}

impl Taken {
    fn given(&self) -> usize {
        match self {
            Self::All(given) | Self::Until(given) => *given,
        }
    }
}

/// How pictures are to come out.
#[derive(Debug, Clone, Copy)]
struct Picture {
    /// Width and height in pixels, as the container announces them, before they are turned.
    coded: (u32, u32),
    rotation: Rotation,
}

impl Picture {
    fn announced(input: &MediaInput) -> Result<Self> {
        let coded @ (width, height) = input.picture_size();
        let refused = |reason| Err(Error::decode(input.path(), reason));
        if width == 0 || height == 0 {
            let reason = "the size of its pictures cannot be told".to_owned();
            return refused(DecodeError::Corrupt { format: input.format(), reason });
        }
        let (width, height) = (u64::from(width), u64::from(height));
        let max_pixels = input.limits().max_pixels;
        if width * height > max_pixels {
            return refused(DecodeError::TooLarge {
                width,
                height,
                limit: format!("{max_pixels} pixels in all"),
            });
        }
        Ok(Self { coded, rotation: Rotation::of(&input.stream()?) })
    }

    /// A decoded frame as RGB of the announced size, turned.
    fn render<'a>(
        self,
        decoded: &frame::Video,
        turner: &'a mut Turner,
        converter: &'a mut Converter,
        packed: &'a mut Vec<u8>,
    ) -> Result<FrameView<'a>, FfmpegError> {
        let (width, height) = self.coded;
        let upright = if self.rotation.swaps_sides() { (height, width) } else { (width, height) };
        if Turner::can_turn(decoded) {
            let turned = turner.turn(decoded, self.rotation)?;
            return pack(converter.convert(turned, upright)?, packed);
        }
        pack(turner.turn(converter.convert(decoded, self.coded)?, self.rotation)?, packed)
    }
}

/// Frames per second; not a number when the container does not tell.
fn average_frame_rate(input: &MediaInput) -> Result<f64> {
    let rate = input.stream()?.avg_frame_rate();
    Ok(f64::from(rate.numerator()) / f64::from(rate.denominator()))
}
