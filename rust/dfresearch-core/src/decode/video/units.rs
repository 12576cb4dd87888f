//! Whether decoding may start at a packet, read from the packet's own first bytes.

use ffmpeg_next::{Packet, Stream, codec};

use super::index::is_intra_only;

/// How the parts of a packet are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Each part has its length before it, a number of so many bytes (MP4, Matroska).
    Lengths(usize),
    /// Each part has `00 00 01` before it (AVI, MPEG streams).
    StartCodes,
}

/// Reads the types of a packet's units (NAL units) as far as needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitReader {
    /// Every packet is a start.
    IntraOnly,
    H264(FramingOfUnits),
    Hevc(FramingOfUnits),
}

/// Hides how units are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramingOfUnits(Framing);

/// H.264 table 7-1: slices of a picture that needs no other, after which none needs one before it.
const H264_IDR: u8 = 5;
/// H.264 table 7-1: slices of all other pictures.
const H264_SLICES: std::ops::RangeInclusive<u8> = 1..=4;
/// HEVC table 7-1: pictures at which decoding may start (BLA, IDR, CRA).
const HEVC_STARTS: std::ops::RangeInclusive<u8> = 16..=21;
/// HEVC table 7-1: all slices.
const HEVC_SLICES: std::ops::RangeInclusive<u8> = 0..=31;

impl UnitReader {
    /// For the codecs whose packets and frames go together one to one; none for others, which may hide frames in a
    /// packet or packets without a frame (VP8 and VP9 alternate references, packed MPEG-4 frames).
    pub fn of(stream: &Stream<'_>) -> Option<Self> {
        let parameters = stream.parameters();
        let extradata = extradata(stream);
        match parameters.id() {
            // avcC: the lower two bits of its fifth byte. hvcC: those of its 22nd.
            codec::Id::H264 => Some(Self::H264(FramingOfUnits::new(extradata, 4))),
            codec::Id::HEVC => Some(Self::Hevc(FramingOfUnits::new(extradata, 21))),
            other => is_intra_only(other).then_some(Self::IntraOnly),
        }
    }

    /// Whether decoding may start at a packet that its container calls a key frame.
    pub fn is_start(&self, packet: &Packet) -> bool {
        let data = packet.data().unwrap_or_default();
        match self {
            Self::IntraOnly => true,
            Self::H264(framing) => {
                let types = framing.units(data).map(|header| header & 0x1f);
                first_slice(types, |it| it == H264_IDR || H264_SLICES.contains(&it)) == Some(H264_IDR)
            }
            Self::Hevc(framing) => {
                let types = framing.units(data).map(|header| header >> 1 & 0x3f);
                first_slice(types, |it| HEVC_SLICES.contains(&it)).is_some_and(|it| HEVC_STARTS.contains(&it))
            }
        }
    }
}

fn first_slice(mut types: impl Iterator<Item = u8>, is_slice: impl Fn(u8) -> bool) -> Option<u8> {
    types.find(|it| is_slice(*it))
}

impl FramingOfUnits {
    fn new(extradata: &[u8], length_size_at: usize) -> Self {
        // The records of MP4 begin with their version, start codes with a zero.
        let is_record = extradata.first() == Some(&1);
        match extradata.get(length_size_at) {
            Some(byte) if is_record => Self(Framing::Lengths(usize::from(byte & 3) + 1)),
            _ => Self(Framing::StartCodes),
        }
    }

    /// The first byte of each unit.
    fn units(self, data: &[u8]) -> impl Iterator<Item = u8> {
        let mut rest = data;
        std::iter::from_fn(move || match self.0 {
            Framing::Lengths(size) => {
                let (length, unit) = rest.split_at_checked(size)?;
                let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
                rest = unit.get(length..).unwrap_or_default();
                unit.first().copied()
            }
            Framing::StartCodes => {
                let start = rest.windows(3).position(|bytes| bytes == [0, 0, 1])?;
                rest = &rest[start + 3..];
                rest.first().copied()
            }
        })
    }
}

#[allow(unsafe_code)]
fn extradata<'a>(stream: &'a Stream<'_>) -> &'a [u8] {
    // SAFETY: the parameters belong to the stream, which is borrowed for as long as the slice; FFmpeg keeps the
    // size of what it points to beside the pointer.
    unsafe {
        let parameters = (*stream.as_ptr()).codecpar;
        let (start, size) = ((*parameters).extradata, (*parameters).extradata_size);
        match usize::try_from(size) {
            Ok(size) if !start.is_null() => std::slice::from_raw_parts(start, size),
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_in_both_framings() {
        let lengths = FramingOfUnits(Framing::Lengths(4));
        assert!(lengths.units(&[0, 0, 0, 2, 6, 9, 0, 0, 0, 1, 0x65]).eq([6, 0x65]));
        assert!(lengths.units(&[0, 0, 0, 9, 6, 9]).eq([6]));
        let codes = FramingOfUnits(Framing::StartCodes);
        assert!(codes.units(&[0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x65, 1]).eq([9, 0x65]));
    }

    #[test]
    fn framing_is_told_by_the_parameter_sets() {
        assert_eq!(FramingOfUnits::new(&[1, 100, 0, 31, 0xff, 0xe1], 4).0, Framing::Lengths(4));
        assert_eq!(FramingOfUnits::new(&[0, 0, 0, 1, 0x67], 4).0, Framing::StartCodes);
        assert_eq!(FramingOfUnits::new(&[], 21).0, Framing::StartCodes);
    }
}
