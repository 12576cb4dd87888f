//! What holds for every archive: of random members, and of damaged bytes.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};
use proptest::prelude::*;

use super::tar_archives::{gzip, plain};
use super::zip_archives::{promised_order, stored};
use super::*;

/// Members of all sorts: names that are media, and names that are none.
fn files() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let name = prop_oneof![
        3 => "[a-z]{1,8}(/[a-z]{1,8}){0,2}\\.(jpg|PNG|webp)",
        1 => "[a-z]{1,8}\\.(txt|json|mp4)",
        1 => "__MACOSX/[a-z]{1,4}\\.jpg",
        1 => "[a-z]{1,4}/\\._[a-z]{1,4}\\.jpg",
        1 => "[a-z]{90,120}/[a-z]{60,90}\\.jpg",
    ];
    let content = prop::collection::vec(any::<u8>(), 0..3000);
    prop::collection::btree_map(name, content, 0..12)
        .prop_map(BTreeMap::into_iter)
        .prop_map(Iterator::collect::<Vec<_>>)
        .prop_shuffle()
}

fn is_medium(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap();
    !name.contains("__MACOSX")
        && !file.starts_with("._")
        && [".jpg", ".PNG", ".webp"].iter().any(|end| name.ends_with(end))
}

fn compressed(files: &[(String, Vec<u8>)], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn methods() -> impl Strategy<Value = CompressionMethod> {
    use CompressionMethod::{Bzip2, Deflated, Stored, Zstd};
    prop::sample::select(vec![Stored, Deflated, Bzip2, Zstd])
}

/// Damage: an end that is missing, and bytes that are others.
#[derive(Debug, Clone)]
struct Damage {
    kept: prop::sample::Index,
    is_cut: bool,
    flips: Vec<(prop::sample::Index, u8)>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let flips = prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 0..6);
    (any::<prop::sample::Index>(), any::<bool>(), flips).prop_map(|(kept, is_cut, flips)| Damage {
        kept,
        is_cut,
        flips,
    })
}

fn damaged(mut bytes: Vec<u8>, damage: &Damage) -> Vec<u8> {
    if damage.is_cut {
        bytes.truncate(damage.kept.index(bytes.len()));
    }
    let flips = if bytes.is_empty() { &[][..] } else { &damage.flips };
    for (place, mask) in flips {
        let place = place.index(bytes.len());
        bytes[place] ^= mask;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_medium_comes_once_in_the_promised_order(files in files(), method in methods(), seed: u64) {
        let media: Vec<&(String, Vec<u8>)> = files.iter().filter(|(name, _)| is_medium(name)).collect();
        let names: Vec<&str> = media.iter().map(|(name, _)| name.as_str()).collect();
        let selection = Selection { seed, ..all(Modality::Image) };
        let content: BTreeMap<&str, &Vec<u8>> = media.iter().map(|(name, bytes)| (name.as_str(), bytes)).collect();
        let tar = plain(&files);
        let archives = [
            (ArchiveFormat::Zip, compressed(&files, method), promised_order(&names, seed, KEY)),
            (ArchiveFormat::TarGz, gzip(&tar), names.iter().map(ToString::to_string).collect()),
            (ArchiveFormat::Tar, tar, names.iter().map(ToString::to_string).collect()),
        ];
        for (format, archive, order) in archives {
            let (found, outcome) = collect(&archive, format, &selection);
            prop_assert_eq!(members(&found), order);
            for (origin, bytes) in &found {
                prop_assert_eq!(bytes, content[origin.member.as_deref().unwrap()]);
            }
            let skipped: u64 = outcome.unwrap().0.values().sum();
            prop_assert_eq!(skipped as usize, files.len() - media.len());
        }
    }

    #[test]
    fn a_damaged_zip_archive_gives_only_sound_media(files in files(), method in methods(), damage in damage()) {
        let archive = damaged(compressed(&files, method), &damage);
        let (found, _) = collect(&archive, ArchiveFormat::Zip, &all(Modality::Image));
        for (origin, bytes) in found {
            prop_assert!(files.iter().any(|(_, sound)| *sound == bytes), "{}", origin);
        }
    }

    #[test]
    fn a_damaged_tar_archive_ends(files in files(), damage in damage()) {
        let tar = plain(&files);
        let (_, outcome) = collect(&damaged(tar.clone(), &damage), ArchiveFormat::Tar, &all(Modality::Image));
        prop_assert!(outcome.is_ok() || is_invalid(&outcome), "{:?}", outcome);
        let (_, outcome) = collect(&damaged(gzip(&tar), &damage), ArchiveFormat::TarGz, &all(Modality::Image));
        prop_assert!(outcome.is_ok() || is_invalid(&outcome), "{:?}", outcome);
    }

    #[test]
    fn a_truncated_tar_archive_keeps_what_was_whole(files in files(), kept: prop::sample::Index) {
        let tar = plain(&files);
        let kept = kept.index(tar.len());
        let (whole, _) = collect(&tar, ArchiveFormat::Tar, &all(Modality::Image));
        let (found, _) = collect(&tar[..kept], ArchiveFormat::Tar, &all(Modality::Image));
        prop_assert!(whole.starts_with(&found));
    }

    #[test]
    fn a_damaged_parquet_file_ends(
        cells in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..40),
        damage in damage(),
    ) {
        let file = damaged(super::super::parquet::tests::binary_file(&cells), &damage);
        let (_, outcome) = collect(&file, ArchiveFormat::Parquet, &all(Modality::Image));
        prop_assert!(outcome.is_ok() || is_invalid(&outcome), "{:?}", outcome);
    }

    #[test]
    fn any_bytes_are_sniffed_without_harm(head in prop::collection::vec(any::<u8>(), 0..64)) {
        for modality in Modality::ALL {
            if let Some(extension) = sniff(&head, modality) {
                prop_assert!(crate::store::media_extensions(modality).contains(&extension));
            }
        }
    }
}

#[test]
fn the_end_of_every_length_of_a_zip_archive_is_missed() {
    let files: Vec<_> = (0..3).map(|index| (format!("{index}.jpg"), vec![index; 50])).collect();
    let archive = stored(&files);
    for length in 0..archive.len() {
        let (media, outcome) = collect(&archive[..length], ArchiveFormat::Zip, &all(Modality::Image));
        assert!(media.is_empty() && is_invalid(&outcome), "{length}: {outcome:?}");
    }
}
