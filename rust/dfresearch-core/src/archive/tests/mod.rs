//! What every format has in common, and what the tests of zip and tar build on.

mod properties;
mod sniffing;
mod tar_archives;
mod zip_archives;

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use super::*;
use crate::error::{Error, FetchErrorKind};

pub(super) const KEY: &str = "dataset/archive";

/// A selection of all media of a modality.
pub(super) fn all(modality: Modality) -> Selection<'static> {
    Selection {
        modality,
        seed: 7,
        key: KEY,
        data_columns: None,
        filter: None,
        include_members: None,
        exclude_members: None,
        wanted: None,
        members: None,
        limits: ExtractLimits::default(),
    }
}

/// The media that a sink reads to their end without an error, and the outcome.
pub(super) fn collect_from(
    source: &mut dyn ByteSource,
    format: ArchiveFormat,
    selection: &Selection<'_>,
) -> (Vec<(Origin, Vec<u8>)>, Result<Skipped>) {
    let mut media = Vec::new();
    let outcome = extract(source, format, selection, &StopFlag::default(), &mut |medium| {
        let mut bytes = Vec::new();
        medium.content.read_to_end(&mut bytes).map_err(|error| Error::from_io("sink", error))?;
        media.push((medium.origin, bytes));
        Ok(Flow::Continue)
    });
    (media, outcome)
}

pub(super) fn collect(
    bytes: &[u8],
    format: ArchiveFormat,
    selection: &Selection<'_>,
) -> (Vec<(Origin, Vec<u8>)>, Result<Skipped>) {
    collect_from(&mut Cursor::new(bytes.to_vec()), format, selection)
}

pub(super) fn members(media: &[(Origin, Vec<u8>)]) -> Vec<&str> {
    media.iter().map(|(origin, _)| origin.member.as_deref().unwrap()).collect()
}

pub(super) fn counts(skipped: &Skipped) -> Vec<(SkipReason, u64)> {
    skipped.0.iter().map(|(&reason, &count)| (reason, count)).collect()
}

pub(super) fn is_invalid(outcome: &Result<Skipped>) -> bool {
    matches!(outcome, Err(Error::Fetch { kind: FetchErrorKind::Invalid, url, .. }) if url == KEY)
}

/// A source that remembers what it was told to fetch, and fails from a place on.
pub(super) struct Watched {
    pub bytes: Cursor<Vec<u8>>,
    pub prefetched: Vec<Range<u64>>,
    pub fails_from: Option<u64>,
}

impl Watched {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Cursor::new(bytes), prefetched: Vec::new(), fails_from: None }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.fails_from {
            Some(place) if self.bytes.position() >= place => {
                Err(Error::fetch("https://hub.example/x", FetchErrorKind::Unavailable, "reset").into_io())
            }
            Some(place) => {
                let most = (place - self.bytes.position()) as usize;
                let most = most.min(buffer.len());
                self.bytes.read(&mut buffer[..most])
            }
            None => self.bytes.read(buffer),
        }
    }
}

impl Seek for Watched {
    fn seek(&mut self, target: SeekFrom) -> std::io::Result<u64> {
        self.bytes.seek(target)
    }
}

impl ByteSource for Watched {
    fn prefetch(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        self.prefetched.extend_from_slice(ranges);
        Ok(())
    }
}

/// The same three media in every format.
fn samples() -> [(ArchiveFormat, Vec<u8>); 4] {
    let files: Vec<(String, Vec<u8>)> =
        (0..3).map(|index| (format!("{index}.jpg"), vec![index; 200_000])).collect();
    let tar = tar_archives::plain(&files);
    [
        (ArchiveFormat::Zip, zip_archives::stored(&files)),
        (ArchiveFormat::TarGz, tar_archives::gzip(&tar)),
        (ArchiveFormat::Tar, tar),
        (
            ArchiveFormat::Parquet,
            super::parquet::tests::binary_file(&files.iter().map(|file| file.1.clone()).collect::<Vec<_>>()),
        ),
    ]
}

#[test]
fn formats_are_told_by_the_end_of_the_path() {
    let formats =
        ["a.parquet", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.gz", "tar"].map(ArchiveFormat::from_path);
    use ArchiveFormat::{Parquet, Tar, TarGz, Zip};
    assert_eq!(formats, [Some(Parquet), Some(Zip), Some(Tar), Some(TarGz), Some(TarGz), None, None]);
}

#[test]
fn a_sink_that_reads_nothing_breaks_nothing_and_stops_when_it_says_so() {
    for (format, bytes) in samples() {
        let mut sizes = Vec::new();
        let mut source = Cursor::new(bytes.clone());
        extract(&mut source, format, &all(Modality::Image), &StopFlag::default(), &mut |medium| {
            let most = if sizes.len() == 1 { u64::MAX } else { 3 };
            sizes.push(std::io::copy(&mut medium.content.take(most), &mut std::io::sink()).unwrap());
            Ok(Flow::Continue)
        })
        .unwrap();
        assert_eq!(sizes, [3, 200_000, 3], "{format:?}");
        let mut seen = 0;
        let mut stop_after = |_: Medium<'_>| {
            seen += 1;
            Ok(if seen == 2 { Flow::Stop } else { Flow::Continue })
        };
        extract(&mut source, format, &all(Modality::Image), &StopFlag::default(), &mut stop_after).unwrap();
        assert_eq!(seen, 2, "{format:?}");
        let selection = Selection { wanted: Some(1), ..all(Modality::Image) };
        assert_eq!(collect(&bytes, format, &selection).0.len(), 1);
        let selection = Selection { wanted: Some(0), ..all(Modality::Image) };
        assert_eq!(collect(b"no archive", format, &selection).0.len(), 0);
    }
}

#[test]
fn errors_of_the_source_the_sink_and_the_flag_come_through() {
    for (format, bytes) in samples() {
        for tenths in [0, 1, 5, 9] {
            let fails_from = bytes.len() as u64 * tenths / 10;
            let mut source = Watched { fails_from: Some(fails_from), ..Watched::new(bytes.clone()) };
            let (_, outcome) = collect_from(&mut source, format, &all(Modality::Image));
            let is_sources = matches!(
                &outcome,
                Err(Error::Fetch { url, kind: FetchErrorKind::Unavailable, .. }) if url == "https://hub.example/x"
            );
            assert!(is_sources, "{format:?} {fails_from}: {outcome:?}");
        }
        let outcome = extract(
            &mut Cursor::new(bytes.clone()),
            format,
            &all(Modality::Image),
            &StopFlag::default(),
            &mut |_| Err(Error::argument("sink", "full")),
        );
        assert!(matches!(outcome, Err(Error::Argument { .. })), "{format:?}");
        let flag = StopFlag::default();
        let mut read = 0;
        let outcome = extract(&mut Cursor::new(bytes), format, &all(Modality::Image), &flag, &mut |medium| {
            read += 1;
            flag.stop();
            std::io::copy(medium.content, &mut std::io::sink()).map_err(|error| Error::from_io("", error))?;
            Ok(Flow::Continue)
        });
        assert!(matches!(outcome, Err(Error::Stopped)), "{format:?}: {outcome:?}");
        assert_eq!(read, 1);
    }
}

#[test]
fn media_over_a_limit_are_skipped_and_counted() {
    for (format, bytes) in samples() {
        let limits = ExtractLimits { entry_bytes: 199_999, ..ExtractLimits::default() };
        let (media, outcome) = collect(&bytes, format, &Selection { limits, ..all(Modality::Image) });
        assert_eq!(media.len(), 0);
        assert_eq!(counts(&outcome.unwrap()), [(SkipReason::OverEntryLimit, 3)], "{format:?}");
        let limits = ExtractLimits { archive_bytes: 450_000, ..ExtractLimits::default() };
        let (media, outcome) = collect(&bytes, format, &Selection { limits, ..all(Modality::Image) });
        assert_eq!(media.len(), 2, "{format:?}");
        assert_eq!(counts(&outcome.unwrap()), [(SkipReason::OverArchiveLimit, 1)], "{format:?}");
    }
}

#[test]
fn what_is_no_archive_is_an_error_with_its_name() {
    for format in [ArchiveFormat::Parquet, ArchiveFormat::Zip, ArchiveFormat::Tar, ArchiveFormat::TarGz] {
        for bytes in [&b""[..], b"<!DOCTYPE html><html>", &[0x1F, 0x8B, 1, 2, 3], &[b'x'; 4096]] {
            let (media, outcome) = collect(bytes, format, &all(Modality::Image));
            assert!(media.is_empty() && is_invalid(&outcome), "{format:?} {bytes:?}: {outcome:?}");
        }
    }
}

#[test]
fn origins_and_reasons_are_written_for_people() {
    let cell = Origin { row: Some(4), column: Some("image".into()), position: Some(2), ..Origin::default() };
    assert_eq!(cell.to_string(), "row 4, column \"image\", position 2");
    let member = Origin { member: Some("a/b.jpg".into()), ..Origin::default() };
    assert_eq!(member.to_string(), "\"a/b.jpg\"");
    assert_eq!(SkipReason::OverEntryLimit.to_string(), "over the limit of one medium");
}
