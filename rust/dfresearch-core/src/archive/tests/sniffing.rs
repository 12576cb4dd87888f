//! What media are, by files that the `ffmpeg` command writes.

use std::process::Command;

use super::*;

/// Runs the command and gives back the first 4 KiB of the file that it writes.
fn written(arguments: &str, extension: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("medium.{extension}"));
    let outcome = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i"])
        .args(arguments.split(' '))
        .arg(&file)
        .output()
        .expect("the ffmpeg command");
    assert!(outcome.status.success(), "{arguments}: {}", String::from_utf8_lossy(&outcome.stderr));
    let mut bytes = std::fs::read(file).unwrap();
    bytes.truncate(4096);
    bytes
}

#[test]
fn media_of_all_modalities_are_told_by_their_content() {
    let picture = "testsrc=size=64x48:rate=5:duration=1";
    let tone = "sine=frequency=440:duration=1";
    let still = |rest: &str| format!("{picture} -frames:v 1 {rest}");
    let clip = |rest: &str| format!("{picture} -pix_fmt yuv420p {rest}");
    let sound = |rest: &str| format!("{tone} {rest}");
    use Modality::{Audio, Image, Video};
    for (modality, arguments, written_as, expected) in [
        (Image, still("-c:v mjpeg"), "jpg", "jpg"),
        (Image, still("-c:v png"), "png", "png"),
        (Image, still("-c:v bmp"), "bmp", "bmp"),
        (Image, still("-c:v gif"), "gif", "gif"),
        (Image, still("-c:v tiff"), "tiff", "tif"),
        (Video, clip("-c:v mpeg4 -f mp4"), "mp4", "mp4"),
        (Video, clip("-c:v mpeg4 -f mp4 -movflags +frag_keyframe+empty_moov"), "mp4", "mp4"),
        (Video, clip("-c:v mpeg4 -f mov"), "mov", "mov"),
        (Video, clip("-c:v mpeg4 -f ipod"), "m4v", "m4v"),
        (Video, clip("-c:v mpeg4 -f 3gp"), "3gp", "3gp"),
        (Video, clip("-c:v mpeg4 -f avi"), "avi", "avi"),
        (Video, clip("-c:v mpeg4 -f matroska"), "mkv", "mkv"),
        (Video, clip("-c:v flv -f flv"), "flv", "flv"),
        (Video, clip("-c:v wmv2 -f asf"), "wmv", "wmv"),
        (Video, clip("-r 25 -c:v mpeg2video -f mpeg"), "mpg", "mpg"),
        (Video, clip("-r 25 -c:v mpeg2video -f mpegts"), "ts", "mpg"),
        (Video, clip("-r 25 -c:v mpeg2video -f mpegts -mpegts_m2ts_mode 1"), "m2ts", "mpg"),
        (Audio, sound("-f wav"), "wav", "wav"),
        (Audio, sound("-rf64 always -f wav"), "wav", "wav"),
        (Audio, sound("-f flac"), "flac", "flac"),
        (Audio, sound("-f aiff"), "aif", "aif"),
        (Audio, sound("-c:a aac -f ipod"), "m4a", "m4a"),
        (Audio, sound("-c:a aac -f adts"), "aac", "aac"),
        (Audio, sound("-c:a wmav2 -f asf"), "wma", "wma"),
        (Audio, sound("-c:a flac -f matroska"), "mka", "mka"),
        (Audio, sound("-c:a flac -f ogg"), "ogg", "ogg"),
        (Audio, sound("-c:a mp2 -f mp2"), "mp2", "mp3"),
    ] {
        let head = written(&arguments, written_as);
        assert_eq!(sniff(&head, modality), Some(expected), "{arguments}");
        assert_eq!(
            sniff(&head[..head.len().min(32)], Image),
            (modality == Image).then_some(expected),
            "{arguments}"
        );
        if modality == Image {
            assert_eq!((sniff(&head, Video), sniff(&head, Audio)), (None, None), "{arguments}");
        }
    }
}

#[test]
fn containers_of_both_take_the_extension_of_what_is_asked_for() {
    let mp4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41";
    let webm = b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\xF7\x81\x01\x42\xF2\x81\x04\x42\xF3\x81\x08\x42\x82\x84webm";
    let opus = b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead";
    for (head, video, audio) in
        [(&mp4[..], "mp4", "m4a"), (webm, "webm", "mka"), (opus, "ogv", "opus"), (b"ID3\x04", "", "mp3")]
    {
        assert_eq!(sniff(head, Modality::Video), Some(video).filter(|extension| !extension.is_empty()));
        assert_eq!(sniff(head, Modality::Audio), Some(audio));
        assert_eq!(sniff(head, Modality::Image), None);
    }
    let brand = |brand: &str| [b"\0\0\0\x20ftyp", brand.as_bytes(), b"\0\0\0\0"].concat();
    assert_eq!(sniff(&brand("qt  "), Modality::Video), Some("mov"));
    assert_eq!(sniff(&brand("avif"), Modality::Video), None);
    assert_eq!(sniff(&brand("M4A "), Modality::Video), None);
    assert_eq!(sniff(b"\0\0\0\x08wide\0\0\0\0mdat", Modality::Video), Some("mov"));
}

#[test]
fn what_servers_answer_instead_of_media_is_no_medium() {
    for text in [
        &b""[..],
        b"<!DOCTYPE html><html>",
        b"<?xml version=\"1.0\"?><Error>",
        b"{\"error\": \"gated\"}",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
        b"BM25 is a ranking function of words",
        b"\xFF\xFB",
        b"\xFF\xFE\x41\x00\x42\x00 UTF-16",
        b"PK\x03\x04",
        b"RIFF....",
        b"/9j/4AAQSkZJRgABAQ",
    ] {
        for modality in Modality::ALL {
            assert_eq!(sniff(text, modality), None, "{}", String::from_utf8_lossy(text));
        }
    }
    // A frame header by chance, with something else where the next one should be.
    let mut chance = vec![0xFF, 0xFB, 0x90, 0x00];
    chance.resize(1000, 0x55);
    assert_eq!(sniff(&chance, Modality::Audio), None);
    chance[417..421].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x00]);
    assert_eq!(
        sniff(&chance, Modality::Audio),
        Some("mp3"),
        "a frame of 128 kbit/s at 44.1 kHz has 417 bytes"
    );
}
