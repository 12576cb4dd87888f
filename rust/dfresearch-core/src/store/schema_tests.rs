//! Indexes of an older version, and headers of video and sound.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use super::index::VERSION_1;
use super::*;

/// A file that the `ffmpeg` command makes of its own test sources.
fn media(path: &Path, arguments: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(arguments.split_whitespace()).arg(path);
    assert!(command.status().unwrap().success());
}

const CLIP: &str = "-f lavfi -i testsrc=size=64x48:rate=10:duration=2 -c:v libx264 -pix_fmt yuv420p";
const TONE: &str = "-f lavfi -i sine=duration=1.5:sample_rate=16000";

fn scan(cache: &Path, modality: Modality) -> DatasetScan {
    let mut index = Index::open(cache).unwrap();
    // For images alone, of which there are none.
    let refuse = |_: &[u8]| Err(DecodeError::Empty);
    scan_dataset(&mut index, cache, modality, "set", &refuse, &|_| Ok(())).unwrap()
}

fn record<'a>(scan: &'a DatasetScan, name: &str) -> &'a FileRecord {
    &scan.files.iter().find(|file| file.name == name).unwrap().record
}

#[test]
fn headers_of_clips_tell_size_duration_and_codec() {
    let cache = tempfile::tempdir().unwrap();
    let folder = modality_folder(cache.path(), Modality::Video).join("set");
    for name in ["clip.mp4", "clip.mkv"] {
        media(&folder.join(name), CLIP);
    }
    media(&folder.join("frames/%02d.png"), "-f lavfi -i testsrc=size=32x24:rate=4:duration=1");
    fs::create_dir(folder.join("broken")).unwrap();
    fs::write(folder.join("broken/1.png"), b"no image").unwrap();
    let whole = fs::read(folder.join("clip.mp4")).unwrap();
    fs::write(folder.join("half.mp4"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.join("page.mp4"), b"<html>not found</html>").unwrap();
    let scan = scan(cache.path(), Modality::Video);
    for name in ["clip.mp4", "clip.mkv"] {
        let record = record(&scan, name);
        assert_eq!((record.dimensions, record.codec.as_deref()), (Some((64, 48)), Some("h264")));
        assert!((record.duration_seconds.unwrap() - 2.0).abs() < 0.11, "{:?}", record.duration_seconds);
        assert!(record.accepted);
    }
    let frames = record(&scan, "frames");
    assert_eq!((frames.dimensions, frames.duration_seconds), (Some((32, 24)), None));
    assert_eq!(frames.codec.as_deref(), Some("png"));
    for (name, reason) in [
        ("half.mp4", "corrupt MP4/QuickTime: moov atom not found"),
        ("page.mp4", "not a known video format: HTML text"),
        ("broken", "not a known image format: plain text"),
    ] {
        let refused = record(&scan, name);
        assert_eq!(refused.quarantine_reason.as_deref(), Some(reason));
        assert!(!refused.accepted && refused.content.is_some());
    }
}

#[test]
fn headers_of_sounds_tell_duration_and_codec() {
    let cache = tempfile::tempdir().unwrap();
    let folder = modality_folder(cache.path(), Modality::Audio).join("set");
    for (name, codec) in [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.mp3", "mp3"), ("a.ogg", "")] {
        media(&folder.join(name), TONE);
        let properties = probe(Modality::Audio, &folder.join(name)).unwrap();
        assert!((properties.duration_seconds.unwrap() - 1.5).abs() < 0.1, "{name}: {properties:?}");
        assert_eq!(properties.dimensions, None);
        assert!(
            properties.codec.as_deref().is_some_and(|it| codec.is_empty() || it == codec),
            "{properties:?}"
        );
    }
    fs::write(folder.join("bad.wav"), b"RIFF").unwrap();
    let scan = scan(cache.path(), Modality::Audio);
    assert!(record(&scan, "bad.wav").quarantine_reason.is_some());
    assert_eq!(record(&scan, "a.wav").quarantine_reason, None);
}

/// Makes of a cache's index what version 1 would have made.
fn downgrade(cache: &Path) {
    let path = cache.join(INDEX_FILE);
    let old = cache.join("old.sqlite3");
    let connection = Connection::open(&old).unwrap();
    connection.execute_batch(VERSION_1).unwrap();
    connection.pragma_update(None, "application_id", 0x6466_7265).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    connection.execute("ATTACH ?1 AS new", [path.to_str().unwrap()]).unwrap();
    connection
        .execute_batch(
            "INSERT INTO dataset SELECT id, modality, name FROM new.dataset;
             INSERT INTO file SELECT dataset, name, size, modified_ns, content, NULL, NULL, accepted, status, reason,
                                     group_name FROM new.file;",
        )
        .unwrap();
    drop(connection);
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(cache.join(format!("{INDEX_FILE}{ending}")));
    }
    fs::rename(old, path).unwrap();
}

#[test]
fn an_index_of_version_1_is_brought_up_to_date_and_forgets_no_refusal() {
    let cache = tempfile::tempdir().unwrap();
    let folder = modality_folder(cache.path(), Modality::Audio).join("set");
    for name in ["good.wav", "refused.wav"] {
        media(&folder.join(name), TONE);
    }
    fs::write(folder.join("noise.wav"), b"no sound at all").unwrap();
    let before = scan(cache.path(), Modality::Audio);
    quarantine(cache.path(), &[(folder.join("refused.wav"), "a decoder's reason".to_owned())]).unwrap();
    downgrade(cache.path());
    let noise = "UPDATE file SET accepted = 1, status = 'ok', reason = NULL WHERE name = 'noise.wav'";
    Connection::open(cache.path().join(INDEX_FILE)).unwrap().execute(noise, []).unwrap();

    assert_eq!(Index::open(cache.path()).unwrap().notices(), [] as [&str; 0]);
    let after = scan(cache.path(), Modality::Audio);
    assert_eq!(after.read, 0, "nothing is hashed again");
    assert_eq!(record(&after, "good.wav"), record(&before, "good.wav"));
    let refused = record(&after, "refused.wav");
    assert_eq!(refused.quarantine_reason.as_deref(), Some("a decoder's reason"));
    assert_eq!(refused.codec.as_deref(), Some("pcm_s16le"));
    let noise = record(&after, "noise.wav");
    assert!(noise.quarantine_reason.is_some(), "its header had not been looked at before");
    assert_eq!(scan(cache.path(), Modality::Audio).files, after.files);
}

#[test]
fn an_index_of_version_1_is_copied_to_memory_too() {
    let cache = tempfile::tempdir().unwrap();
    let folder = modality_folder(cache.path(), Modality::Audio).join("set");
    media(&folder.join("a.wav"), TONE);
    scan(cache.path(), Modality::Audio);
    downgrade(cache.path());
    let index = Index::in_memory(cache.path().join(INDEX_FILE), Some("read-only")).unwrap();
    assert!(index.notices()[0].contains("(1 files were known)"), "{}", index.notices()[0]);
    assert_eq!(index.files(Modality::Audio, "set").unwrap().len(), 1);
}
