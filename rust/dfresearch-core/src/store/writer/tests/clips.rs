//! Samples that are folders of frames.

use super::*;
use crate::store::ContentHash;

/// Frames that are others for each number, one to three of them.
pub(super) fn frames(number: u32) -> Vec<Vec<u8>> {
    (0..=number % 3).map(|frame| image(10 * number + frame)).collect()
}

pub(super) fn stage(stager: &Stager, frames: &[Vec<u8>]) -> StagedSample {
    let mut clip = stager.stage_frames().unwrap();
    for frame in frames {
        clip.add("clips/a/frame", &mut frame.as_slice()).unwrap().unwrap();
    }
    clip.finish().unwrap().unwrap()
}

/// Why a clip of these frames, each with its name, is refused.
fn refusal(stager: &Stager, frames: &[(&str, &[u8])]) -> String {
    let mut clip = stager.stage_frames().unwrap();
    let refused = frames.iter().find_map(|&(name, mut frame)| clip.add(name, &mut frame).unwrap().err());
    refused.unwrap_or_else(|| clip.finish().unwrap().unwrap_err()).reason
}

/// The content of a clip by another way: the hash of its frames' hashes.
fn content(number: u32) -> ContentHash {
    let hashes =
        frames(number).iter().flat_map(|frame| *ContentHash::of(frame).as_bytes()).collect::<Vec<_>>();
    ContentHash::of(&hashes)
}

#[test]
fn a_clip_is_a_numbered_folder_of_numbered_frames() {
    let (files, state, rows) = undisturbed_of(Modality::Video, 5);
    let names = ["000000/000000.bmp", "000001/000000.bmp", "000001/000001.bmp", "000002/000000.bmp"];
    let last = ["000003/000000.bmp", "000003/000001.bmp", MANIFEST_FILE];
    assert_eq!(files.keys().collect::<Vec<_>>(), [&names[..], &last].concat());
    assert_eq!(files["000001/000001.bmp"], image(11));
    let line = String::from_utf8(files[MANIFEST_FILE].clone()).unwrap();
    let expected = format!(
        "{{\"file\":\"000001\",\"sha256\":\"{}\",\"source\":\"data/0.parquet\",\"row\":1,\"revision\":\"r1\"}}",
        content(1)
    );
    assert_eq!(line.lines().nth(1), Some(expected.as_str()));
    let expected = FileRecord {
        size: (image(10).len() + image(11).len()) as u64,
        content: Some(content(1)),
        dimensions: Some((1, 1)),
        codec: Some("bmp".to_owned()),
        accepted: true,
        origin: Some(origin(1)),
        ..FileRecord::default()
    };
    assert_eq!(rows["000001"], expected);
    assert_eq!((state.samples, rows.len()), (4, 4));
}

#[test]
fn what_the_index_says_of_clips_is_what_a_scan_finds() {
    let cache = Cache::of(Modality::Video);
    cache.run("r1", 5);
    let (_, _, written) = cache.all();
    fs::remove_file(cache.0.path().join(crate::store::INDEX_FILE)).unwrap();
    cache.begin("r1");
    let (_, _, scanned) = cache.all();
    assert_eq!(scanned, written);
}

#[test]
fn a_kill_between_any_two_steps_of_a_commit_of_clips_changes_nothing_in_the_end() {
    kill_between_steps(Modality::Video);
}

#[test]
fn a_clip_that_is_gone_or_damaged_comes_back_under_its_name() {
    let expected = undisturbed_of(Modality::Video, 11);
    // Without a frame, all frames, the folder; with a frame too many, or a spoilt one.
    let damages: [fn(&Path); 5] = [
        |clip| fs::remove_file(clip.join("000000.bmp")).unwrap(),
        |clip| frame_names(clip).iter().for_each(|name| fs::remove_file(clip.join(name)).unwrap()),
        |clip| fs::remove_dir_all(clip).unwrap(),
        |clip| fs::write(clip.join("000007.bmp"), image(500)).unwrap(),
        |clip| fs::write(clip.join("000000.bmp"), &image(500)[..60]).unwrap(),
    ];
    for (position, damage) in damages.into_iter().enumerate() {
        let cache = Cache::of(Modality::Video);
        cache.run("r1", 11);
        damage(&cache.file("000001"));
        damage(&cache.file("000005"));
        let writer = cache.begin("r1");
        assert_eq!(writer.committed().len(), 6, "damage {position}");
        assert!(writer.is_known(&origin(0)) && !writer.is_known(&origin(1)) && !writer.is_known(&origin(7)));
        assert!(cache.file("000002/000000.bmp").exists(), "what follows a gap stays");
        drop(writer);
        cache.run("r1", 11);
        assert_eq!(cache.all(), expected, "damage {position}");
    }
}

fn frame_names(clip: &Path) -> Vec<String> {
    fs::read_dir(clip).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn numbered_folders_without_a_line_go_and_a_person_s_folders_stay() {
    let cache = Cache::of(Modality::Video);
    cache.run("r1", 5);
    for folder in ["000077", "mine", "0001", "000002b"] {
        fs::create_dir(cache.file(folder)).unwrap();
        fs::write(cache.file(folder).join("1.bmp"), image(900)).unwrap();
    }
    fs::write(cache.file("000078"), b"a file of a person's, for a file of ours has an extension").unwrap();
    drop(cache.begin("r1"));
    assert!(!cache.file("000077").exists());
    cache.begin("r2");
    let (files, _, rows) = cache.all();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["000002b/1.bmp", "000078", "0001/1.bmp", "mine/1.bmp"],
        "another revision starts over"
    );
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["000002b", "0001", "mine"]);
}

#[test]
fn numbered_folders_of_other_modalities_are_a_persons() {
    let cache = Cache::new();
    cache.run("r1", 5);
    fs::create_dir(cache.file("000077")).unwrap();
    fs::write(cache.file("000077/1.bmp"), image(900)).unwrap();
    drop(cache.begin("r1"));
    assert!(cache.file("000077/1.bmp").exists());
}

#[test]
fn a_clip_with_a_frame_that_is_none_is_refused_and_leaves_nothing() {
    let cache = Cache::of(Modality::Video);
    let writer = cache.begin("r1");
    let (stager, frame) = (writer.stager(), image(1));
    let gif = [&b"GIF89a\x01\0\x01\0"[..], &[0; 20]].concat();
    let mut cut = image(1);
    cut.truncate(20);
    let kinds = "no image of a kind that frames may have (jpg, jpeg, png, bmp, webp, tif, tiff)";
    for (frames, expected) in [
        (vec![("a/1.png", &frame[..]), ("a/2.png", b"<html>")], format!("frame a/2.png: {kinds}")),
        (vec![("a/1.png", b"")], format!("frame a/1.png: {kinds}")),
        (vec![("a/1.png", &frame[..]), ("a/2.png", &gif)], format!("frame a/2.png: {kinds}")),
        (vec![("a/1.bmp", &cut[..])], "frame a/1.bmp: ".to_owned()),
        (vec![], "it holds no image files".to_owned()),
    ] {
        let reason = refusal(&stager, &frames);
        assert!(reason.contains(&expected), "{reason}");
    }
    let mut clip = stager.stage_frames().unwrap();
    clip.add("a/1.bmp", &mut frame.as_slice()).unwrap().unwrap();
    assert!(matches!(clip.add("a/2.bmp", &mut Broken(b"BM")), Err(Error::Stopped)));
    drop(clip);
    drop(stage(&stager, &frames(2)));
    assert_eq!(fs::read_dir(cache.file(STAGING_FOLDER)).unwrap().count(), 0);
}

#[test]
fn frames_are_named_by_their_order_and_by_what_they_are() {
    let cache = Cache::of(Modality::Video);
    let mut writer = cache.begin("r1");
    let mut clip = writer.stager().stage_frames().unwrap();
    let png = b"\x89PNG\r\n\x1A\n and what follows";
    clip.add("../../z.jpg", &mut image(1).as_slice()).unwrap().unwrap();
    for _ in 0..11 {
        clip.add("a.jpg", &mut &png[..]).unwrap().unwrap();
    }
    writer.accept(clip.finish().unwrap().unwrap(), origin(0), None).unwrap();
    writer.finish(outcome(FetchStatus::Ok, 1)).unwrap();
    let mut names = frame_names(&cache.file("000000"));
    names.sort();
    let expected: Vec<String> =
        (0..12).map(|frame| format!("{frame:06}.{}", if frame == 0 { "bmp" } else { "png" })).collect();
    assert_eq!(names, expected);
}
