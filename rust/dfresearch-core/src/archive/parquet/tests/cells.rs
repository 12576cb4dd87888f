//! Cells of all kinds.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parquet::file::properties::WriterProperties;

use super::super::super::tests::{all, collect, counts};
use super::super::super::{ArchiveFormat, ExtractLimits, Origin, Selection, SkipReason};
use super::*;
use crate::modality::Modality;

fn origin(row: u64, column: &str, position: Option<u32>) -> Origin {
    Origin { member: None, row: Some(row), column: Some(column.into()), position }
}

#[test]
fn lists_of_media_have_positions() {
    // Rows: [a, null, b], [], null, [c]
    let schema =
        "message m { optional group image (LIST) { repeated group list { optional binary element; } } }";
    let values = Values::Bytes(vec![jpeg(1, 9), jpeg(2, 8), jpeg(3, 7)]);
    let chunk = Chunk::levels(values, &[3, 2, 3, 1, 0, 3], &[0, 1, 1, 0, 0, 0]);
    let bytes = file(schema, WriterProperties::new(), &[vec![chunk]]);
    let (media, outcome) = collect(&bytes, ArchiveFormat::Parquet, &all(Modality::Image));
    let expected = [(0, 0, jpeg(1, 9)), (0, 2, jpeg(2, 8)), (3, 0, jpeg(3, 7))]
        .map(|(row, position, bytes)| (origin(row, "image", Some(position)), bytes));
    assert_eq!(media, expected);
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, 3)], "a place, an empty list and no list");
}

#[test]
fn lists_of_structs_and_lists_of_older_writers_are_read_too() {
    let cells = || Values::Bytes(vec![jpeg(1, 9), jpeg(2, 8)]);
    let paths = || Values::Bytes(vec![b"x".to_vec(); 2]);
    let of_structs =
        "message m { required group images (LIST) { repeated group list { required group element {
        required binary bytes; required binary path (UTF8); } } } }";
    let legacy_structs = "message m { required group images (LIST) { repeated group images_tuple {
        required binary bytes; } } }";
    let legacy = "message m { required group images (LIST) { repeated binary array; } }";
    let bare = "message m { repeated binary images; }";
    for (schema, has_path) in [(of_structs, true), (legacy_structs, false), (legacy, false), (bare, false)] {
        let mut group = vec![Chunk::levels(cells(), &[1, 1], &[0, 1])];
        if has_path {
            group.push(Chunk::levels(paths(), &[1, 1], &[0, 1]));
        }
        let bytes = file(schema, WriterProperties::new(), &[group]);
        let (media, outcome) = collect(&bytes, ArchiveFormat::Parquet, &all(Modality::Image));
        let expected = [(0, jpeg(1, 9)), (1, jpeg(2, 8))]
            .map(|(place, bytes)| (origin(0, "images", Some(place)), bytes));
        assert_eq!(media, expected, "{schema}: {outcome:?}");
    }
}

#[test]
fn text_is_decoded_from_base64_in_all_its_forms() {
    let image = jpeg(62, 500);
    let plain = STANDARD.encode(&image);
    let wrapped =
        plain.as_bytes().chunks(76).map(|line| [line, b"\r\n"].concat()).collect::<Vec<_>>().concat();
    let texts = [
        plain.clone().into_bytes(),
        wrapped,
        plain.trim_end_matches('=').as_bytes().to_vec(),
        URL_SAFE_NO_PAD.encode(&image).into_bytes(),
        format!("data:image/jpeg;base64,{plain}").into_bytes(),
        format!("  DATA:image/jpeg;charset=x;BASE64,{plain}").into_bytes(),
        b"https://example.org/a.jpg".to_vec(),
        STANDARD.encode("no medium at all").into_bytes(),
        b"data:image/jpeg,raw".to_vec(),
        Vec::new(),
        b"a".to_vec(),
    ];
    let group = [vec![Chunk::required(Values::Bytes(texts.to_vec()))]];
    let expected: Vec<_> = (0..6).map(|row| (origin(row, "image", None), image.clone())).collect();
    let text = file("message m { required binary image (UTF8); }", WriterProperties::new(), &group);
    let (media, outcome) = collect(&text, ArchiveFormat::Parquet, &all(Modality::Image));
    assert_eq!(media, expected);
    let skipped = [(SkipReason::NotMedium, 4), (SkipReason::EmptyCell, 1)];
    assert_eq!(counts(&outcome.unwrap()), skipped);
    // In columns of bytes the same, and what is no base64 of a medium is left to the sink as it is.
    let binary = file("message m { required binary image; }", WriterProperties::new(), &group);
    let (media, outcome) = collect(&binary, ArchiveFormat::Parquet, &all(Modality::Image));
    assert_eq!(media[..6], expected);
    let rest: Vec<_> = media[6..].iter().map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(rest, [&texts[6], &texts[7], &texts[8], &texts[10]].map(Clone::clone));
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, 1)]);
}

#[test]
fn raw_bytes_that_could_be_base64_stay_as_they_are() {
    // An ADTS frame cannot be written in letters, but an MP3 tag can begin so.
    let tagged = [b"ID3".as_slice(), &[b'A'; 8000]].concat();
    let group = [vec![Chunk::required(Values::Bytes(vec![tagged.clone()]))]];
    let bytes = file("message m { required binary audio; }", WriterProperties::new(), &group);
    let (media, _) = collect(&bytes, ArchiveFormat::Parquet, &all(Modality::Audio));
    assert_eq!(media, [(origin(0, "audio", None), tagged)]);
}

/// A WAV file of one channel with 16-bit samples, written from the format's description.
fn wave(rate: u32, samples: &[i16]) -> Vec<u8> {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn arrays_of_samples_become_wave_files_at_their_rate() {
    let schema = "message m { optional group audio { optional binary path (UTF8);
        optional group array (LIST) { repeated group list { optional double element; } } optional int64 sampling_rate; } }";
    // Rows: three samples at 8 kHz; two without a rate; none; a null array; NaN; a null sample; a rate of 0.
    let samples = vec![0.0, 1.5, -1.0, 0.5, 1.5 / 32767.0, f64::NAN, 0.25, 0.5];
    let levels = [4, 4, 4, 4, 4, 2, 1, 0, 4, 4, 3, 4];
    let starts = [0, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0];
    let group = vec![
        Chunk::levels(Values::Bytes(Vec::new()), &[1, 1, 1, 1, 0, 1, 1, 1], &[]),
        Chunk::levels(Values::Double(samples), &levels, &starts),
        Chunk::levels(Values::Long(vec![8000, 8000, 8000, 8000, 0]), &[2, 1, 2, 1, 0, 2, 2, 2], &[]),
    ];
    let bytes = file(schema, WriterProperties::new(), &[group]);
    let (media, outcome) = collect(&bytes, ArchiveFormat::Parquet, &all(Modality::Audio));
    let expected = [
        (origin(0, "audio", None), wave(8000, &[0, 32767, -32767])),
        (origin(1, "audio", None), wave(16_000, &[16_384, 2])),
    ];
    assert_eq!(media, expected, "16383.5 and 1.5 are rounded to even numbers");
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, 3), (SkipReason::Corrupt, 3)]);
}

#[test]
fn lists_of_arrays_have_positions_and_their_own_rates() {
    let schema = "message m { required group audio (LIST) { repeated group list { required group element {
        required group array (LIST) { repeated group list { required float element; } } required int32 sampling_rate; } } } }";
    // Rows: [[.5, .25], [], [1]], [], [[-.5]]
    let group = vec![
        Chunk::levels(Values::Single(vec![0.5, 0.25, 1.0, -0.5]), &[2, 2, 1, 2, 0, 2], &[0, 2, 1, 1, 0, 0]),
        Chunk::levels(Values::Short(vec![8000, 1, 16_000, 44_100]), &[1, 1, 1, 0, 1], &[0, 1, 1, 0, 0]),
    ];
    let bytes = file(schema, WriterProperties::new(), &[group]);
    let (media, outcome) = collect(&bytes, ArchiveFormat::Parquet, &all(Modality::Audio));
    let expected = [
        (origin(0, "audio", Some(0)), wave(8000, &[16_384, 8192])),
        (origin(0, "audio", Some(2)), wave(16_000, &[32_767])),
        (origin(2, "audio", Some(0)), wave(44_100, &[-16_384])),
    ];
    assert_eq!(media, expected);
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, 2)]);
    let limits = ExtractLimits { entry_bytes: 47, ..ExtractLimits::default() };
    let (media, outcome) =
        collect(&bytes, ArchiveFormat::Parquet, &Selection { limits, ..all(Modality::Audio) });
    assert_eq!(media.len(), 2);
    assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, 2), (SkipReason::OverEntryLimit, 1)]);
}

#[test]
fn several_columns_give_several_media_a_row() {
    let schema = "message m { required binary first; required binary id (UTF8); required binary second; }";
    let column =
        |from: usize| Chunk::required(Values::Bytes((0..3).map(|row| jpeg(from + row, 50)).collect()));
    let ids = Chunk::required(Values::Bytes(vec![b"x".to_vec(); 3]));
    let bytes = file(schema, WriterProperties::new(), &[vec![column(0), ids, column(10)]]);
    let names = ["second".to_owned(), "first".to_owned()];
    let selection = Selection { data_columns: Some(&names), ..all(Modality::Image) };
    let (media, _) = collect(&bytes, ArchiveFormat::Parquet, &selection);
    let expected: Vec<_> = (0..3)
        .flat_map(|row| {
            let cell = |column, number| (origin(row as u64, column, None), jpeg(number, 50));
            [cell("second", 10 + row), cell("first", row)]
        })
        .collect();
    assert_eq!(media, expected, "in the order of data_columns");
}
