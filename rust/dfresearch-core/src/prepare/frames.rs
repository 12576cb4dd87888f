//! Clips that lie in a repository as folders of images, for definitions that say `frames`.
//!
//! Every folder that directly holds images is one clip. Images that lie in no folder are a clip only where no folder
//! holds any: beside folders they are what a repository shows of itself. Of each clip the first frames are fetched, as
//! many as the competition ever looks at.

use std::collections::BTreeMap;
use std::path::Path;

use crate::decode::video::frame_number;
use crate::hub::RemoteEntry;
use crate::prepare::files::{Fetched, SourceMedium, fetch_whole};
use crate::prepare::source::RemoteSource;
use crate::store::Stager;

/// Frames of a clip that are fetched: the competition caps a clip at as many.
const MOST_FRAMES: usize = 64;

/// What the folder of a repository is called in which everything lies.
const ROOT: &str = ".";

/// A clip at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FrameFolder {
    /// Its path in the repository.
    pub folder: String,
    /// Its first frames, in their order.
    pub frames: Vec<RemoteEntry>,
}

/// The clips of a listing, by name.
pub(super) fn frame_folders(listing: &[RemoteEntry]) -> Vec<FrameFolder> {
    let mut folders: BTreeMap<&str, Vec<(u128, &RemoteEntry)>> = BTreeMap::new();
    for entry in listing {
        let (folder, _) = entry.path.rsplit_once('/').unwrap_or((ROOT, ""));
        let is_hidden = entry.path.split('/').any(|part| part.starts_with('.'));
        if let Some(number) = frame_number(Path::new(&entry.path)).filter(|_| !is_hidden) {
            folders.entry(folder).or_default().push((number, entry));
        }
    }
    if folders.len() > 1 {
        folders.remove(ROOT);
    }
    let clip = |(folder, mut frames): (&str, Vec<(u128, &RemoteEntry)>)| {
        // As frames of a folder on the disk are sorted when they are decoded.
        frames.sort_by_key(|&(number, entry)| (number, &entry.path));
        let frames = frames.into_iter().take(MOST_FRAMES).map(|(_, entry)| entry.clone());
        FrameFolder { folder: folder.to_owned(), frames: frames.collect() }
    };
    folders.into_iter().map(clip).collect()
}

impl SourceMedium for FrameFolder {
    fn path(&self) -> &str {
        &self.folder
    }

    fn fetch(&self, source: RemoteSource<'_>, stager: &Stager) -> Fetched {
        let _permit = source.permit()?;
        // First all of them, then the clip: what has come outlives a failure of the rest.
        for frame in &self.frames {
            fetch_whole(source, frame)?;
        }
        let mut clip = stager.stage_frames()?;
        let mut refusal = None;
        for frame in &self.frames {
            let mut remote = fetch_whole(source, frame)?;
            if refusal.is_none() {
                refusal = clip.add(&frame.path, &mut remote)?.err();
            }
            source.discard(remote)?;
        }
        refusal.map_or_else(|| clip.finish(), |refusal| Ok(Err(refusal)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::decode::video::{FrameSampling, VideoDecoder};
    use crate::error::Error;
    use crate::ffmpeg::MediaSource;

    fn listing(paths: &[&str]) -> Vec<RemoteEntry> {
        let entry = |path: &&str| RemoteEntry { path: (*path).to_owned(), size: 1, checksum: None };
        paths.iter().map(entry).collect()
    }

    fn found(paths: &[&str]) -> Vec<(String, Vec<String>)> {
        let frames = |clip: FrameFolder| clip.frames.into_iter().map(|frame| frame.path).collect();
        let clips = frame_folders(&listing(paths)).into_iter();
        clips.map(|clip| (clip.folder.clone(), frames(clip))).collect()
    }

    #[test]
    fn every_folder_that_directly_holds_images_is_a_clip() {
        let clips = found(&[
            "README.md",
            "cover.png",
            "videos/10.jpg",
            "videos/9.JPG",
            "videos/first.png",
            "videos/09.webp",
            "videos/notes.txt",
            "videos/._9.jpg",
            "videos/loop.gif",
            "videos/.cache/1.png",
            "videos/deep/er/frame_2.bmp",
            "videos/deep/er/frame_10.bmp",
            "videos/deep/labels.json",
        ]);
        let order = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            clips,
            [
                (
                    "videos".to_owned(),
                    order(&["videos/09.webp", "videos/9.JPG", "videos/10.jpg", "videos/first.png"])
                ),
                (
                    "videos/deep/er".to_owned(),
                    order(&["videos/deep/er/frame_10.bmp", "videos/deep/er/frame_2.bmp"])
                ),
            ]
        );
    }

    #[test]
    fn images_in_no_folder_are_a_clip_where_there_is_no_other() {
        let clips = found(&["2.png", "1.png", "labels/README.md"]);
        assert_eq!(clips, [(".".to_owned(), vec!["1.png".to_owned(), "2.png".to_owned()])]);
        assert_eq!(found(&["README.md", "a/b.mp4"]), []);
    }

    #[test]
    fn no_more_frames_are_meant_than_the_competition_looks_at() {
        let paths: Vec<String> = (0..200).rev().map(|frame| format!("clip/{frame}.png")).collect();
        let clips = frame_folders(&listing(&paths.iter().map(String::as_str).collect::<Vec<_>>()));
        let frames: Vec<&str> = clips[0].frames.iter().map(|frame| frame.path.as_str()).collect();
        let expected: Vec<String> = (0..64).map(|frame| format!("clip/{frame}.png")).collect();
        assert_eq!(frames, expected);
    }

    /// The same names on a disk, decoded: the order in which they are fetched is the one in which they are read.
    #[test]
    fn frames_come_in_the_order_in_which_a_folder_of_them_is_decoded() {
        let names = ["a10.png", "a9.png", "7z.png", "007.png", "7.png", "12.png", "\u{661}.png", "x.png"];
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<String> = names.iter().map(|name| format!("clip/{name}")).collect();
        let clips = frame_folders(&listing(&paths.iter().map(String::as_str).collect::<Vec<_>>()));
        for name in names {
            std::fs::write(folder.path().join(name), b"no image").unwrap();
        }
        for frame in &clips[0].frames {
            let path = folder.path().join(frame.path.strip_prefix("clip/").unwrap());
            // The first one in the folder is the first one that is refused.
            let refused = VideoDecoder::default()
                .decode(MediaSource::Path(folder.path()), 1, FrameSampling::First, &mut |_, _| Ok(()))
                .unwrap_err();
            assert!(matches!(&refused, Error::Decode { path: first, .. } if *first == path), "{refused}");
            std::fs::remove_file(path).unwrap();
        }
    }
}
