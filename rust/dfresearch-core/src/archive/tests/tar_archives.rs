//! Tar archives, written by the `tar` crate and by hand.

use std::io::{Cursor, Write};

use ::tar::{Builder, EntryType, Header};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

pub(super) fn plain(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, bytes) in files {
        append(&mut builder, name, bytes, EntryType::Regular);
    }
    builder.into_inner().unwrap()
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn append(builder: &mut Builder<Vec<u8>>, name: &str, bytes: &[u8], kind: EntryType) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    // The crate refuses names that lead outside, and shortens others: those are written by hand.
    if name.starts_with(['/', '.']) || name.contains("..") {
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).unwrap();
    } else {
        builder.append_data(&mut header, name, bytes).unwrap();
    }
}

/// A header with a name and a size, whatever they are.
fn block(name: &[u8], kind: u8, size: u64) -> [u8; 512] {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size);
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_cksum();
    *header.as_bytes()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax_record(key: &str, value: &str) -> Vec<u8> {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| *length == rest + length.to_string().len()).unwrap();
    format!("{length} {key}={value}\n").into_bytes()
}

#[test]
fn members_come_as_they_stand_whatever_their_names() {
    let long = format!("{}/{}.jpg", "folder".repeat(30), "x".repeat(90));
    let names =
        ["z.jpg".to_owned(), long, "./a.png".to_owned(), "ü/é.gif".to_owned(), "empty.bmp".to_owned()];
    let files: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            (name.clone(), if index == 4 { Vec::new() } else { vec![index as u8; 700 * index + 1] })
        })
        .collect();
    let tar = plain(&files);
    let mut two_members = gzip(&tar[..1000]);
    two_members.extend(gzip(&tar[1000..]));
    let unmarked = tar[..tar.len() - 1024].to_vec();
    for (format, archive) in [
        (ArchiveFormat::Tar, tar.clone()),
        (ArchiveFormat::TarGz, gzip(&tar)),
        (ArchiveFormat::Tar, gzip(&tar)),
        (ArchiveFormat::TarGz, tar),
        (ArchiveFormat::TarGz, two_members),
        (ArchiveFormat::Tar, unmarked),
    ] {
        for seed in [1, 2] {
            let (media, outcome) = collect(&archive, format, &Selection { seed, ..all(Modality::Image) });
            assert_eq!(counts(&outcome.unwrap()), []);
            assert_eq!(members(&media), names.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(media.iter().zip(&files).all(|(medium, file)| medium.1 == file.1));
        }
    }
}

#[test]
fn pax_records_name_and_size_the_next_member_alone() {
    let long = format!("{}ß.wav", "pax/".repeat(40));
    let mut records = pax_record("path", &long);
    records.extend(pax_record("mtime", "12.5"));
    records.extend(pax_record("size", "700"));
    let mut archive = block(b"PaxHeader", b'x', records.len() as u64).to_vec();
    archive.extend(padded(&records));
    // The header's own size is what an old reader would believe.
    archive.extend(block(b"short.txt", b'0', 0));
    archive.extend(padded(&[5; 700]));
    archive.extend(block(b"latin\xE9.wav", b'0', 3));
    archive.extend(padded(b"abc"));
    archive.extend([0; 1024]);
    let (media, outcome) = collect(&archive, ArchiveFormat::Tar, &all(Modality::Audio));
    assert_eq!(counts(&outcome.unwrap()), []);
    assert_eq!(members(&media), [long.as_str(), "latiné.wav"]);
    assert_eq!(media[0].1, [5; 700]);
    assert_eq!(media[1].1, b"abc");
}

#[test]
fn what_is_no_plain_medium_is_counted_by_its_reason() {
    let mut builder = Builder::new(Vec::new());
    append(&mut builder, "a.jpg", b"first", EntryType::Regular);
    append(&mut builder, "folder.jpg/", b"", EntryType::Directory);
    for (name, kind) in [
        ("link.jpg", EntryType::Symlink),
        ("hard.jpg", EntryType::Link),
        ("pipe.jpg", EntryType::Fifo),
        ("device.jpg", EntryType::Char),
    ] {
        append(&mut builder, name, b"", kind);
    }
    for name in ["../up.jpg", "/abs.jpg", "a/../b.jpg", "._a.jpg", "notes.txt"] {
        append(&mut builder, name, b"content", EntryType::Regular);
    }
    append(&mut builder, "a.jpg", b"second", EntryType::Regular);
    append(&mut builder, "b.jpg", b"last", EntryType::Regular);
    let (media, outcome) = collect(&builder.into_inner().unwrap(), ArchiveFormat::Tar, &all(Modality::Image));
    assert_eq!(members(&media), ["a.jpg", "b.jpg"]);
    assert_eq!((media[0].1.as_slice(), media[1].1.as_slice()), (&b"first"[..], &b"last"[..]));
    let expected = [
        (SkipReason::Symlink, 1),
        (SkipReason::HardLink, 1),
        (SkipReason::SpecialFile, 2),
        (SkipReason::PathOutside, 3),
        (SkipReason::Hidden, 1),
        (SkipReason::NotMedium, 1),
        (SkipReason::DuplicateName, 1),
    ];
    assert_eq!(counts(&outcome.unwrap()), expected);
}

#[test]
fn a_sparse_file_is_stepped_over_with_its_map() {
    let mut sparse = Header::new_gnu();
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(512);
    sparse.as_gnu_mut().unwrap().name[..8].copy_from_slice(b"hole.jpg");
    sparse.as_gnu_mut().unwrap().set_is_extended(true);
    sparse.set_cksum();
    let mut archive = sparse.as_bytes().to_vec();
    archive.extend([0; 512]);
    archive.extend([7; 512]);
    archive.extend(plain(&[("b.jpg".into(), b"behind".to_vec())]));
    let (media, outcome) = collect(&archive, ArchiveFormat::Tar, &all(Modality::Image));
    assert_eq!(members(&media), ["b.jpg"]);
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::SpecialFile, 1)]);
}

#[test]
fn a_truncated_archive_is_an_error_behind_the_media_before_its_end() {
    let files: Vec<_> = (0..4).map(|index| (format!("{index}.jpg"), vec![index; 5000])).collect();
    let tar = plain(&files);
    for (format, archive) in [(ArchiveFormat::Tar, tar.clone()), (ArchiveFormat::TarGz, gzip(&tar))] {
        let (media, outcome) = collect(&archive, format, &all(Modality::Image));
        assert!(media.len() == 4 && outcome.is_ok());
    }
    // A member has a header and ten blocks.
    for (length, whole) in [(0, 0), (300, 0), (512, 0), (3000, 0), (11 * 512 + 100, 1), (30 * 512, 2)] {
        let (media, outcome) = collect(&tar[..length], ArchiveFormat::Tar, &all(Modality::Image));
        assert!(is_invalid(&outcome), "{length}: {outcome:?}");
        assert_eq!(media.len(), whole, "{length}");
        let (media, outcome) = collect(&gzip(&tar[..length]), ArchiveFormat::TarGz, &all(Modality::Image));
        assert!(is_invalid(&outcome) && media.len() == whole, "{length}: {outcome:?}");
    }
    let mut damaged = tar;
    damaged[11 * 512 + 3] ^= 1;
    let (media, outcome) = collect(&damaged, ArchiveFormat::Tar, &all(Modality::Image));
    assert!(is_invalid(&outcome) && media.len() == 1, "the checksum of the second header");
}

#[test]
fn bombs_are_cut_off() {
    // A name of 8 GiB.
    let mut archive = block(b"././@LongLink", b'L', 8 << 30).to_vec();
    archive.extend([b'a'; 4096]);
    let (media, outcome) = collect(&gzip(&archive), ArchiveFormat::TarGz, &all(Modality::Image));
    assert!(media.is_empty() && is_invalid(&outcome));
    // A file that nobody wants and that decompresses to 1000 times its size.
    let mut archive = block(b"zeros.txt", b'0', 64 << 20).to_vec();
    archive.resize(archive.len() + (64 << 20), 0);
    archive.extend(plain(&[("b.jpg".into(), b"behind".to_vec())]));
    let limits = ExtractLimits { entry_bytes: 1 << 20, archive_ratio: 100, ..ExtractLimits::default() };
    let selection = Selection { limits, ..all(Modality::Image) };
    let (media, outcome) = collect(&gzip(&archive), ArchiveFormat::TarGz, &selection);
    assert!(media.is_empty());
    let expected = [(SkipReason::NotMedium, 1), (SkipReason::OverArchiveLimit, 1)];
    assert_eq!(counts(&outcome.unwrap()), expected);
    let (media, _) =
        collect_from(&mut Cursor::new(gzip(&archive)), ArchiveFormat::TarGz, &all(Modality::Image));
    assert_eq!(members(&media), ["b.jpg"], "within the limits by default");
}
