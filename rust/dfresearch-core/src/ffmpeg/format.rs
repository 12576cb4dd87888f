//! The container formats that are opened, and what bytes of another kind look like.

use std::ffi::{CStr, c_int};
use std::ptr;

use ffmpeg_next::ffi;

/// FFmpeg's name of a demuxer, and how errors call the format.
///
/// Left out are all that open other files or devices (playlists, image sequences, capture), that take any bytes at
/// all (raw samples), and still images.
const FORMATS: [(&str, &str); 48] = [
    ("mov,mp4,m4a,3gp,3g2,mj2", "MP4/QuickTime"),
    ("matroska,webm", "Matroska/WebM"),
    ("avi", "AVI"),
    ("asf", "ASF/WMV"),
    ("asf_o", "ASF/WMV"),
    ("mpeg", "MPEG program stream"),
    ("mpegts", "MPEG transport stream"),
    ("mpegvideo", "MPEG video stream"),
    ("h264", "H.264 stream"),
    ("hevc", "HEVC stream"),
    ("m4v", "MPEG-4 stream"),
    ("vc1", "VC-1 stream"),
    ("obu", "AV1 stream"),
    ("ivf", "IVF"),
    ("flv", "FLV"),
    ("live_flv", "FLV"),
    ("ogg", "Ogg"),
    ("rm", "RealMedia"),
    ("nut", "NUT"),
    ("mxf", "MXF"),
    ("gxf", "GXF"),
    ("dv", "DV"),
    ("wtv", "WTV"),
    ("yuv4mpegpipe", "YUV4MPEG"),
    ("wav", "WAV"),
    ("w64", "Wave64"),
    ("flac", "FLAC"),
    ("mp3", "MP3"),
    ("aac", "AAC"),
    ("loas", "AAC"),
    ("ac3", "AC-3"),
    ("eac3", "E-AC-3"),
    ("aiff", "AIFF"),
    ("au", "AU"),
    ("caf", "CAF"),
    ("amr", "AMR"),
    ("amrnb", "AMR"),
    ("amrwb", "AMR"),
    ("ape", "Monkey's Audio"),
    ("tta", "TTA"),
    ("wv", "WavPack"),
    ("mpc", "Musepack"),
    ("mpc8", "Musepack"),
    ("tak", "TAK"),
    ("voc", "VOC"),
    ("nistsphere", "NIST SPHERE"),
    ("ircam", "IRCAM"),
    ("xwma", "xWMA"),
];

/// What errors call a format that nobody here has named.
const SOME_FORMAT: &str = "media";

/// The names of all formats that may be opened, in FFmpeg's notation.
pub fn allowed() -> String {
    FORMATS.map(|(name, _)| name).join(",")
}

/// How errors call the format of a demuxer.
pub fn display_name(demuxer: &str) -> &'static str {
    FORMATS.iter().find(|(name, _)| *name == demuxer).map_or(SOME_FORMAT, |(_, display)| display)
}

/// How errors call the format that FFmpeg takes these first bytes for; none if it is none that is opened here.
#[allow(unsafe_code)]
pub fn recognise(first_bytes: &[u8]) -> Option<&'static str> {
    let mut padded = first_bytes.to_vec();
    padded.extend([0; ffi::AVPROBE_PADDING_SIZE as usize]);
    let probe = ffi::AVProbeData {
        filename: c"".as_ptr(),
        buf: padded.as_mut_ptr(),
        buf_size: first_bytes.len() as c_int,
        mime_type: ptr::null(),
    };
    let mut score: c_int = 0;
    // SAFETY: the buffer has the padding that probing may read, and demuxers with their names are static.
    let name = unsafe {
        let demuxer = ffi::av_probe_input_format3(&probe, 1, &mut score);
        (!demuxer.is_null()).then(|| CStr::from_ptr((*demuxer).name))
    };
    let name = name?.to_str().ok()?;
    FORMATS.iter().find(|(known, _)| *known == name).map(|(_, display)| *display)
}
