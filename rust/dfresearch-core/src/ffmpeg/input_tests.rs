#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::process::Command;

use super::*;

/// A file that the `ffmpeg` command makes of its own test sources.
fn media(folder: &Path, name: &str, arguments: &str) -> PathBuf {
    let path = folder.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(arguments.split_whitespace()).arg(&path);
    assert!(command.status().unwrap().success());
    path
}

const VIDEO: &str = "-f lavfi -i testsrc=size=64x48:rate=10:duration=1 -c:v libx264 -pix_fmt yuv420p";

fn open(path: &Path, medium: Medium) -> Result<MediaInput> {
    MediaInput::open(MediaSource::Path(path), medium, MediaLimits::default())
}

fn reason(result: Result<MediaInput>) -> String {
    result.unwrap_err().reason()
}

#[test]
fn packets_of_the_wanted_stream_alone_from_a_path_and_from_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = format!("-f lavfi -i sine=duration=1 {VIDEO}");
    let path = media(folder.path(), "clip.mp4", &arguments);
    let bytes = fs::read(&path).unwrap();
    for source in [MediaSource::Path(&path), MediaSource::Bytes(&bytes)] {
        let mut input = MediaInput::open(source, Medium::Video, MediaLimits::default()).unwrap();
        assert_eq!(input.format(), "MP4/QuickTime");
        assert!(input.decoder().unwrap().video().is_ok());
        let mut packet = Packet::empty();
        let mut packets = 0;
        while input.read(&mut packet).unwrap() {
            assert_eq!(packet.stream(), input.stream().unwrap().index());
            packets += 1;
        }
        assert_eq!(packets, 10);
    }
    assert!(open(&path, Medium::Audio).unwrap().decoder().unwrap().audio().is_ok());
}

#[test]
fn what_is_no_file_is_the_systems_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let missing = open(&folder.path().join("missing.mp4"), Medium::Video);
    assert!(matches!(missing, Err(Error::NotFound { .. })));
    let directory = open(folder.path(), Medium::Video);
    assert!(matches!(directory, Err(Error::Io { source, .. }) if source.raw_os_error() == Some(21)));
    let pipe = folder.path().join("pipe.mp4");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(matches!(open(&pipe, Medium::Video), Err(Error::Io { .. })));
}

#[test]
fn playlists_and_lists_of_files_are_refused_under_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let clip = media(folder.path(), "clip.mp4", VIDEO);
    let clip = clip.display();
    let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n");
    let list = format!("ffconcat version 1.0\nfile '{clip}'\n");
    let description =
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n";
    for content in [playlist.as_str(), &list, description, "hello, this is text"] {
        let path = folder.path().join("disguised.mp4");
        fs::write(&path, content).unwrap();
        assert_eq!(reason(open(&path, Medium::Video)), "not a known video format: plain text");
        let bytes = MediaSource::Bytes(content.as_bytes());
        let refused = MediaInput::open(bytes, Medium::Audio, MediaLimits::default()).unwrap_err();
        assert_eq!(refused.to_string(), "<bytes>: not a known audio format: plain text");
    }
}

#[test]
fn each_kind_of_unusable_content_has_its_own_reason() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.mp4");
    fs::write(&empty, b"").unwrap();
    assert_eq!(reason(open(&empty, Medium::Video)), "the file is empty");

    let image = media(folder.path(), "image.png", "-f lavfi -i testsrc=size=64x48 -frames:v 1");
    assert_eq!(reason(open(&image, Medium::Video)), "not a known video format: a PNG image");

    let song = media(folder.path(), "song.wav", "-f lavfi -i sine=duration=1");
    assert_eq!(reason(open(&song, Medium::Video)), "no video in this WAV file: it holds audio");
    let silent = media(folder.path(), "silent.mkv", VIDEO);
    assert_eq!(reason(open(&silent, Medium::Audio)), "no audio in this Matroska/WebM file: it holds video");

    let clip = fs::read(media(folder.path(), "clip.mp4", VIDEO)).unwrap();
    let truncated = folder.path().join("truncated.mp4");
    fs::write(&truncated, &clip[..clip.len() / 2]).unwrap();
    assert_eq!(reason(open(&truncated, Medium::Video)), "corrupt MP4/QuickTime: moov atom not found");
}

#[test]
fn a_cover_is_no_video() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = "-f lavfi -i sine=duration=1 -f lavfi -i testsrc=size=64x48:duration=0.04 -map 0 -map 1 \
                     -c:v mjpeg -pix_fmt yuvj420p -disposition:v attached_pic";
    let song = media(folder.path(), "song.mp3", arguments);
    assert_eq!(reason(open(&song, Medium::Video)), "no video in this MP3 file: it holds audio");
}

#[test]
fn limits_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let clip = media(folder.path(), "clip.mp4", VIDEO);
    let limits = MediaLimits { max_packets: 3, ..MediaLimits::default() };
    let mut input = MediaInput::open(MediaSource::Path(&clip), Medium::Video, limits).unwrap();
    let mut packet = Packet::empty();
    let error = std::iter::repeat_with(|| input.read(&mut packet)).find_map(Result::err).unwrap();
    assert_eq!(error.reason(), "there is more in it than the limit of 3 packets");

    let limits = MediaLimits { patience: Duration::ZERO, ..MediaLimits::default() };
    let input = MediaInput::open(MediaSource::Path(&clip), Medium::Video, limits);
    let error = input.and_then(|mut input| input.read(&mut packet)).unwrap_err();
    assert_eq!(error.reason(), "the decoder got nothing done in 0 seconds");
}
