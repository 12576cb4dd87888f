//! Frames in display order, as the decoder hands them out.

use std::collections::HashSet;

use ffmpeg_next::codec::decoder;
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::frame;
use ffmpeg_next::{Discard, Error as FfmpegError, Packet};

use super::index::{PacketFeed, PacketIndex};
use crate::error::{DecodeError, Error, Result};

/// What came out of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextFrame {
    /// The frame of this number, counted from 0 in display order.
    Number(u64),
    /// A frame of a time stamp that no packet has, so that its number cannot be told.
    Unknown,
    /// No more.
    End,
}

/// What is left out because nobody wants it.
///
/// ```text
///  packets   I p b b p b b │ I p b b p b b │ I p b b …      │ is a clean start: nothing before it is shown after it,
///  wanted      ▲                                 ▲            and nothing after it refers to what is before
///  decoded   I p b           ·               I p   b
/// ```
struct Skipping<'a> {
    index: &'a PacketIndex,
    /// Time stamps of the wanted frames; what nothing refers to is left out unless it is one of them.
    wanted: HashSet<i64>,
}

/// A decoder and the packets that go into it.
pub struct FrameStream<'a> {
    feed: PacketFeed<'a>,
    decoder: decoder::Video,
    packet: Packet,
    /// Packets fed so far, those that were left out included.
    fed: u64,
    decoded: u64,
    max_decoded: u64,
    skipping: Option<Skipping<'a>>,
}

impl<'a> FrameStream<'a> {
    /// A stream that decodes all that it is fed.
    pub fn new(feed: PacketFeed<'a>, max_decoded: u64) -> Result<Self> {
        let decoder = feed.input().decoder()?.video().map_err(|error| feed.input().error(error))?;
        Ok(Self { feed, decoder, packet: Packet::empty(), fed: 0, decoded: 0, max_decoded, skipping: None })
    }

    /// Leaves out what none of the wanted frames needs.
    pub fn skip_unwanted(&mut self, index: &'a PacketIndex, wanted: &[u64]) {
        let wanted = wanted.iter().filter_map(|&number| index.time_stamp(number)).collect();
        self.skipping = Some(Skipping { index, wanted });
    }

    /// Goes to the last clean start from which frame `number` can be decoded, if that leaves anything out.
    ///
    /// Frames that have not been taken yet are lost, so all that come before `number` must be unwanted.
    pub fn advance(&mut self, number: u64) -> Result<()> {
        let Some(skipping) = &self.skipping else { return Ok(()) };
        let start = skipping.index.clean_start(number);
        if start <= self.fed {
            return Ok(());
        }
        self.decoder.flush();
        while self.fed < start {
            if !self.feed.read(&mut self.packet)? {
                break;
            }
            self.fed += 1;
        }
        Ok(())
    }

    /// Decodes the next frame into `frame`.
    pub fn next(&mut self, frame: &mut frame::Video) -> Result<NextFrame> {
        loop {
            match self.decoder.receive_frame(frame) {
                Ok(()) => return self.number(frame),
                Err(FfmpegError::Eof) => return Ok(NextFrame::End),
                Err(FfmpegError::Other { errno: EAGAIN }) => self.feed_decoder()?,
                Err(error) => return Err(self.damaged(error)),
            }
        }
    }

    /// An error that names the file.
    pub fn error(&self, error: FfmpegError) -> Error {
        self.feed.input().error(error)
    }

    /// How many frames were given, unless there were none.
    pub fn require_frames(&self, given: usize) -> Result<usize> {
        if given > 0 {
            return Ok(given);
        }
        let reason = match self.fed {
            0 => "the video stream has no packets".to_owned(),
            packets => format!("no frame came out of {packets} packets"),
        };
        Err(self.refused(DecodeError::NothingDecoded { format: self.feed.input().format(), reason }))
    }

    fn feed_decoder(&mut self) -> Result<()> {
        self.feed.input().check_watch()?;
        if !self.feed.read(&mut self.packet)? {
            return self.decoder.send_eof().map_err(|error| self.damaged(error));
        }
        self.fed += 1;
        if self.packet.size() == 0 {
            // FFmpeg would take it for the end of the stream.
            return Ok(());
        }
        if let Some(skipping) = &self.skipping {
            let is_wanted = self.packet.pts().is_some_and(|pts| skipping.wanted.contains(&pts));
            self.decoder.skip_frame(if is_wanted { Discard::Default } else { Discard::NonReference });
        }
        self.decoder.send_packet(&self.packet).map_err(|error| self.damaged(error))
    }

    fn number(&mut self, frame: &frame::Video) -> Result<NextFrame> {
        let position = self.decoded;
        self.decoded += 1;
        if self.decoded > self.max_decoded {
            let limit = format!("{} frames", self.max_decoded);
            return Err(self.refused(DecodeError::TooLong { limit }));
        }
        let Some(skipping) = &self.skipping else {
            self.require_undamaged(frame, position)?;
            return Ok(NextFrame::Number(position));
        };
        // Fields that come in packets of their own would be counted as frames.
        let number = frame.timestamp().filter(|_| !frame.is_interlaced());
        let number = number.and_then(|time_stamp| skipping.index.number(time_stamp));
        number.map_or(Ok(NextFrame::Unknown), |number| {
            self.require_undamaged(frame, number)?;
            Ok(NextFrame::Number(number))
        })
    }

    /// What the decoder had to invent is no evidence for anything.
    fn require_undamaged(&self, frame: &frame::Video, number: u64) -> Result<()> {
        // A reference that is missing is normal where a clip was cut out of a longer one.
        let flags = frame.decode_error_flags() - frame::DecodeError::MISSING_REFERENCE;
        if flags.is_empty() && !frame.is_corrupt() {
            return Ok(());
        }
        let reason = format!("frame {number} is damaged");
        Err(self.refused(DecodeError::Corrupt { format: self.feed.input().format(), reason }))
    }

    fn damaged(&self, error: FfmpegError) -> Error {
        match self.error(error) {
            Error::Decode { path, reason: DecodeError::Corrupt { format, reason } } => {
                let reason = format!("after {} frames: {reason}", self.decoded);
                Error::Decode { path, reason: DecodeError::Corrupt { format, reason } }
            }
            other => other,
        }
    }

    fn refused(&self, reason: DecodeError) -> Error {
        Error::decode(self.feed.input().path(), reason)
    }
}
