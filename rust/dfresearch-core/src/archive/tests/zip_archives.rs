//! Zip archives, written by the `zip` crate and then damaged by hand.

use std::collections::HashSet;
use std::io::{Cursor, Write};

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipWriter};
use sha2::{Digest, Sha256};

use super::*;

pub(super) fn stored(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in files {
        writer.start_file(name.as_str(), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// The order that the documentation promises, computed from its words.
pub(super) fn promised_order(names: &[&str], seed: u64, key: &str) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort_by_key(|name| {
        let mut input = seed.to_le_bytes().to_vec();
        input.extend((key.len() as u64).to_le_bytes());
        input.extend(key.as_bytes());
        input.extend(name.as_bytes());
        Sha256::digest(input).to_vec()
    });
    names
}

/// Where the central directory's header of a member begins.
fn central_header(archive: &[u8], name: &str) -> usize {
    let is_header = |place: &usize| archive[*place..].starts_with(b"PK\x01\x02");
    (0..archive.len() - 46)
        .filter(is_header)
        .find(|place| archive[place + 46..].starts_with(name.as_bytes()))
        .expect("a header of this name")
}

#[test]
fn members_of_all_methods_come_in_the_seeded_order() {
    use CompressionMethod::{Bzip2, Deflated, Stored, Zstd};
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let content = |index: usize| vec![index as u8; 1000 * index + 1];
    let names = ["a.jpg", "b/c.PNG", "./d.webp", "e.Jpeg", "ü.gif", "f.tiff", "g.h.bmp", "deep/er/x.tif"];
    for (index, name) in names.iter().enumerate() {
        let method = [Stored, Deflated, Bzip2, Zstd][index % 4];
        let options = SimpleFileOptions::default().compression_method(method).large_file(index % 2 == 0);
        writer.start_file(*name, options).unwrap();
        writer.write_all(&content(index)).unwrap();
    }
    writer.add_directory("folder.jpg", SimpleFileOptions::default()).unwrap();
    let archive = writer.finish().unwrap().into_inner();
    let mut orders = HashSet::new();
    for (seed, key) in [(7, KEY), (8, KEY), (7, "other")] {
        let selection = Selection { seed, key, ..all(Modality::Image) };
        let (media, outcome) = collect(&archive, ArchiveFormat::Zip, &selection);
        assert_eq!(counts(&outcome.unwrap()), []);
        assert_eq!(members(&media), promised_order(&names, seed, key));
        for (origin, bytes) in &media {
            let index = names.iter().position(|name| Some(*name) == origin.member.as_deref()).unwrap();
            assert_eq!(bytes, &content(index));
        }
        orders.insert(members(&media).join(" "));
    }
    assert_eq!(orders.len(), 3);
}

#[test]
fn what_is_no_plain_medium_is_counted_by_its_reason() {
    let names = [
        "good.jpg",
        "notes.txt",
        "noextension",
        "../up.jpg",
        "/abs.jpg",
        "c:/drive.jpg",
        "a/../b.jpg",
        "back\\slash.jpg",
        "__MACOSX/._good.jpg",
        "x/._y.jpg",
        "secret.jpg",
        "strange.jpg",
        "twin1.jpg",
        "twin2.jpg",
        "fifo.jpg",
        "clip.mp4",
    ];
    let files: Vec<_> = names.iter().map(|name| (name.to_string(), name.as_bytes().to_vec())).collect();
    let mut writer = ZipWriter::new_append(Cursor::new(stored(&files))).unwrap();
    writer.add_symlink("link.jpg", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let mut archive = writer.finish().unwrap().into_inner();
    let mut patch = |name: &str, offset: usize, value: &[u8]| {
        let place = central_header(&archive, name) + offset;
        archive[place..place + value.len()].copy_from_slice(value);
    };
    patch("secret.jpg", 8, &1_u16.to_le_bytes());
    patch("strange.jpg", 10, &14_u16.to_le_bytes());
    patch("fifo.jpg", 38, &(0o010_644_u32 << 16).to_le_bytes());
    patch("twin1.jpg", 46, b"twin2.jpg");
    let (media, outcome) = collect(&archive, ArchiveFormat::Zip, &all(Modality::Image));
    let mut found = members(&media);
    found.sort_unstable();
    assert_eq!(found, ["good.jpg", "twin2.jpg"]);
    let twin = media.iter().find(|(origin, _)| origin.member.as_deref() == Some("twin2.jpg")).unwrap();
    assert_eq!(twin.1, b"twin2.jpg", "the last of one name");
    let expected = [
        (SkipReason::Symlink, 1),
        (SkipReason::SpecialFile, 1),
        (SkipReason::PathOutside, 5),
        (SkipReason::Hidden, 2),
        (SkipReason::Encrypted, 1),
        (SkipReason::UnsupportedCompression, 1),
        (SkipReason::NotMedium, 3),
        (SkipReason::DuplicateName, 1),
    ];
    assert_eq!(counts(&outcome.unwrap()), expected);
}

#[test]
fn a_member_with_a_wrong_checksum_loses_no_other() {
    let files: Vec<_> = (0..5).map(|index| (format!("{index}.wav"), vec![index; 100_000])).collect();
    let mut archive = stored(&files);
    let middle = archive.windows(8).position(|window| window == [2; 8]).unwrap() + 99_000;
    archive[middle] ^= 1;
    let (media, outcome) = collect(&archive, ArchiveFormat::Zip, &all(Modality::Audio));
    let mut found = members(&media);
    found.sort_unstable();
    assert_eq!(found, ["0.wav", "1.wav", "3.wav", "4.wav"]);
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::Corrupt, 1)]);
}

#[test]
fn a_sink_that_overlooks_a_broken_end_is_not_believed() {
    let files = [("a.jpg".to_owned(), vec![1; 1000])];
    let mut archive = stored(&files);
    let place = archive.windows(8).position(|window| window == [1; 8]).unwrap();
    archive[place] = 9;
    let skipped = extract(
        &mut Cursor::new(archive),
        ArchiveFormat::Zip,
        &all(Modality::Image),
        &StopFlag::default(),
        &mut |medium| {
            let mut bytes = Vec::new();
            assert!(medium.content.read_to_end(&mut bytes).is_err());
            assert!(medium.content.read(&mut [0; 9]).is_err(), "broken for good");
            Ok(Flow::Continue)
        },
    );
    assert_eq!(counts(&skipped.unwrap()), [(SkipReason::Corrupt, 1)]);
}

#[test]
fn members_are_chosen_by_part_of_their_name_and_by_whole_names() {
    let names = ["real/a.jpg", "real/b.jpg", "fake/c.jpg", "fake/real_d.jpg", "./e.jpg"];
    let files: Vec<_> = names.iter().map(|name| (name.to_string(), vec![1])).collect();
    let archive = stored(&files);
    let found = |selection: &Selection<'_>| {
        let (media, outcome) = collect(&archive, ArchiveFormat::Zip, selection);
        assert_eq!(counts(&outcome.unwrap()), [], "what nobody asked for is not counted");
        let mut found: Vec<_> = members(&media).iter().map(ToString::to_string).collect();
        found.sort_unstable();
        found
    };
    let (include, exclude) = (vec!["real".to_owned()], vec!["fake/".to_owned(), "b.".to_owned()]);
    let selection = Selection { include_members: Some(&include), ..all(Modality::Image) };
    assert_eq!(found(&selection), ["fake/real_d.jpg", "real/a.jpg", "real/b.jpg"]);
    let selection = Selection { exclude_members: Some(&exclude), ..selection };
    assert_eq!(found(&selection), ["real/a.jpg"]);
    let whole = HashSet::from(["fake/c.jpg", "a.jpg", "e.jpg", "./real/b.jpg"].map(str::to_owned));
    let selection = Selection { members: Some(&whole), ..all(Modality::Image) };
    assert_eq!(found(&selection), ["./e.jpg", "fake/c.jpg", "real/b.jpg"]);
}

#[test]
fn a_remote_source_is_told_what_comes_next_and_no_more_than_is_wanted() {
    let files: Vec<_> = (0..300).map(|index| (format!("{index:03}.jpg"), vec![index as u8; 2000])).collect();
    for (wanted, most) in [(Some(5), 5), (Some(100), 100), (None, 304)] {
        let mut source = Watched::new(stored(&files));
        let (media, outcome) =
            collect_from(&mut source, ArchiveFormat::Zip, &Selection { wanted, ..all(Modality::Image) });
        outcome.unwrap();
        assert_eq!(media.len(), wanted.unwrap_or(300));
        assert!(source.prefetched.len() <= most, "{wanted:?}: {}", source.prefetched.len());
        let bytes = source.bytes.into_inner();
        for (origin, content) in &media {
            let name = origin.member.as_deref().unwrap();
            let start =
                bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() as u64 - 30;
            let range = source.prefetched.iter().find(|range| range.start == start).expect("announced");
            assert!(range.end >= start + 30 + content.len() as u64 && range.end <= start + 3000);
        }
    }
}

#[test]
fn a_bomb_is_cut_off_whatever_it_claims() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for name in ["bomb.jpg", "good.jpg"] {
        writer.start_file(name, options).unwrap();
        let size = if name == "bomb.jpg" { 64 << 20 } else { 1000 };
        std::io::copy(&mut std::io::repeat(0).take(size), &mut writer).unwrap();
    }
    let honest = writer.finish().unwrap().into_inner();
    assert!(honest.len() < 200_000);
    let mut lying = honest.clone();
    let place = central_header(&lying, "bomb.jpg") + 24;
    lying[place..place + 4].copy_from_slice(&1000_u32.to_le_bytes());
    let limits = ExtractLimits { entry_bytes: 1 << 20, ..ExtractLimits::default() };
    for (archive, reason) in [(honest, SkipReason::OverEntryLimit), (lying, SkipReason::Corrupt)] {
        let selection = Selection { limits, ..all(Modality::Image) };
        let mut most = 0;
        let mut whole = Vec::new();
        let skipped = extract(
            &mut Cursor::new(archive),
            ArchiveFormat::Zip,
            &selection,
            &StopFlag::default(),
            &mut |medium| {
                let mut buffer = vec![0; 1 << 16];
                let mut sum = 0;
                loop {
                    let read = medium.content.read(&mut buffer).map_err(|error| Error::from_io("", error));
                    most = most.max(sum);
                    match read? {
                        0 => break,
                        read => sum += read,
                    }
                }
                whole.push(sum);
                Ok(Flow::Continue)
            },
        );
        assert_eq!(counts(&skipped.unwrap()), [(reason, 1)]);
        assert_eq!(whole, [1000]);
        assert!(most <= 1 << 20, "{most}");
    }
}
