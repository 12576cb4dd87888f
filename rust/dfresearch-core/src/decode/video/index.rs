//! The packets of a clip, read once to count them and to learn where decoding may start.

use std::slice;

use ffmpeg_next::packet::Ref;
use ffmpeg_next::{Packet, codec, ffi};

use super::units::UnitReader;
use crate::error::Result;
use crate::ffmpeg::{MediaInput, MediaLimits, MediaSource, Medium};

/// The packets of smaller clips are kept, so that the file is read only once.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// Where a stream's packets come from.
pub enum PacketFeed<'a> {
    /// The file.
    File(Box<MediaInput>),
    /// Memory, after the file was read.
    Kept(&'a MediaInput, slice::Iter<'a, Packet>),
}

impl PacketFeed<'_> {
    /// The file.
    pub fn input(&self) -> &MediaInput {
        match self {
            Self::File(input) => input,
            Self::Kept(input, _) => input,
        }
    }

    /// The next packet; false at the end.
    pub fn read(&mut self, packet: &mut Packet) -> Result<bool> {
        match self {
            Self::File(input) => input.read(packet),
            Self::Kept(input, packets) => {
                input.note_progress();
                // A clone refers to the same bytes.
                Ok(packets.next().map(|next| *packet = next.clone()).is_some())
            }
        }
    }
}

/// What a packet says of itself.
struct Entry {
    time_stamp: Option<i64>,
    /// Nothing that is decoded from here on refers to anything before, as far as the packet itself tells.
    is_start: bool,
}

/// All packets of a clip.
pub struct PacketIndex {
    input: MediaInput,
    packets: usize,
    /// The packets themselves, unless they are too many.
    kept: Option<Vec<Packet>>,
    /// In display order; empty where numbers of frames cannot be told from the packets.
    time_stamps: Vec<i64>,
    /// The numbers of packets before which all is shown that is decoded before; the same as those of their frames.
    clean_starts: Vec<u64>,
}

impl PacketIndex {
    /// Reads all packets.
    pub fn read(mut input: MediaInput) -> Result<Self> {
        let units = UnitReader::of(&input.stream()?);
        let mut kept = Some(Vec::new());
        let mut kept_bytes = 0_usize;
        let mut entries = Vec::new();
        let mut is_hidden = false;
        loop {
            let mut packet = Packet::empty();
            if !input.read(&mut packet)? {
                break;
            }
            let is_start = packet.is_key() && units.as_ref().is_some_and(|units| units.is_start(&packet));
            entries.push(Entry { time_stamp: packet.pts(), is_start });
            is_hidden |= is_discarded(&packet) || packet.size() == 0;
            kept_bytes = kept_bytes.saturating_add(packet.size());
            if kept_bytes > MAX_KEPT_BYTES {
                kept = None;
            }
            if let Some(kept) = &mut kept {
                kept.push(packet);
            }
        }
        let packets = entries.len();
        let time_stamps = match units {
            Some(_) if !is_hidden => in_display_order(&entries),
            _ => Vec::new(),
        };
        let clean_starts = if time_stamps.is_empty() { Vec::new() } else { clean_starts(&entries) };
        // A clip that was cut out in the middle begins with packets of which the decoder makes no frames.
        let time_stamps = if clean_starts.first() == Some(&0) { time_stamps } else { Vec::new() };
        Ok(Self { input, packets, kept, time_stamps, clean_starts })
    }

    /// How many packets there are, which is how many frames decord counts.
    pub fn packets(&self) -> usize {
        self.packets
    }

    /// Whether frames can be told apart by the time stamps of their packets, so that some may be left out.
    pub fn allows_skipping(&self) -> bool {
        !self.time_stamps.is_empty()
    }

    /// The packets again, from the first one on.
    pub fn feed(&self, source: MediaSource<'_>, limits: MediaLimits) -> Result<PacketFeed<'_>> {
        match &self.kept {
            Some(packets) => Ok(PacketFeed::Kept(&self.input, packets.iter())),
            None => MediaInput::open(source, Medium::Video, limits).map(Box::new).map(PacketFeed::File),
        }
    }

    /// The time stamp of frame `number`.
    pub fn time_stamp(&self, number: u64) -> Option<i64> {
        self.time_stamps.get(usize::try_from(number).ok()?).copied()
    }

    /// The number of the frame with a time stamp.
    pub fn number(&self, time_stamp: i64) -> Option<u64> {
        self.time_stamps.binary_search(&time_stamp).ok().map(|number| number as u64)
    }

    /// The last clean start from which frame `number` can be decoded.
    pub fn clean_start(&self, number: u64) -> u64 {
        let following = self.clean_starts.partition_point(|&start| start <= number);
        following.checked_sub(1).map_or(0, |last| self.clean_starts[last])
    }
}

/// The time stamps of all packets, if each has its own.
fn in_display_order(entries: &[Entry]) -> Vec<i64> {
    let Some(mut time_stamps) = entries.iter().map(|entry| entry.time_stamp).collect::<Option<Vec<_>>>()
    else {
        return Vec::new();
    };
    time_stamps.sort_unstable();
    let is_unique = time_stamps.windows(2).all(|pair| pair[0] != pair[1]);
    if is_unique { time_stamps } else { Vec::new() }
}

/// Starts that split the clip in both orders at once: all packets before are shown before, all after are shown after.
fn clean_starts(entries: &[Entry]) -> Vec<u64> {
    let stamp = |entry: &Entry| entry.time_stamp.unwrap_or(i64::MIN);
    let mut earliest_following = i64::MAX;
    let mut following: Vec<i64> = entries
        .iter()
        .rev()
        .map(|entry| {
            earliest_following = earliest_following.min(stamp(entry));
            earliest_following
        })
        .collect();
    following.reverse();
    let mut latest_before = i64::MIN;
    let mut starts = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        if entry.is_start && latest_before < stamp(entry) && following[number] == stamp(entry) {
            starts.push(number as u64);
        }
        latest_before = latest_before.max(stamp(entry));
    }
    starts
}

/// Whether an edit list hides what the packet decodes to.
#[allow(unsafe_code)]
fn is_discarded(packet: &Packet) -> bool {
    // SAFETY: the packet is alive.
    unsafe { (*packet.as_ptr()).flags & ffi::AV_PKT_FLAG_DISCARD != 0 }
}

/// Whether every frame of a codec stands for itself.
#[allow(unsafe_code)]
pub fn is_intra_only(codec: codec::Id) -> bool {
    // SAFETY: descriptors are static, if there is one at all.
    unsafe {
        let descriptor = ffi::avcodec_descriptor_get(codec.into());
        !descriptor.is_null() && (*descriptor).props & ffi::AV_CODEC_PROP_INTRA_ONLY != 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    fn entries(stamps: &[(i64, bool)]) -> Vec<Entry> {
        stamps.iter().map(|&(stamp, is_start)| Entry { time_stamp: Some(stamp), is_start }).collect()
    }

    #[test]
    fn a_start_whose_leading_pictures_are_shown_first_is_not_clean() {
        // I0 P3 b1 b2 | I6 b4 b5 (shown before their I) | I7 P9 b8
        let order = [(0, true), (3, false), (1, false), (2, false), (6, true), (4, false), (5, false)];
        let closed = [(7, true), (9, false), (8, false)];
        let entries = entries(&[&order[..], &closed[..]].concat());
        assert_eq!(clean_starts(&entries), [0, 7]);
        assert_eq!(in_display_order(&entries), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn kept_packets_are_progress() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.mp4");
        let arguments = "-nostdin -v error -f lavfi -i testsrc=size=64x48:rate=10:duration=1 -c:v mpeg4";
        let made = Command::new("ffmpeg").args(arguments.split(' ')).arg(&path).status().unwrap();
        assert!(made.success());
        let limits = MediaLimits { patience: Duration::from_secs(2), ..MediaLimits::default() };
        let source = MediaSource::Path(&path);
        let index = PacketIndex::read(MediaInput::open(source, Medium::Video, limits).unwrap()).unwrap();
        let mut feed = index.feed(source, limits).unwrap();
        sleep(limits.patience + Duration::from_millis(1));
        assert!(feed.input().check_watch().is_err());
        assert!(feed.read(&mut Packet::empty()).unwrap());
        assert!(feed.input().check_watch().is_ok());
    }

    #[test]
    fn time_stamps_that_are_missing_or_doubled_number_nothing() {
        assert!(in_display_order(&entries(&[(0, true), (0, false)])).is_empty());
        assert!(in_display_order(&[Entry { time_stamp: None, is_start: true }]).is_empty());
    }
}
