//! Pages of all compressions and encodings, small ones and ones as large as their row group.

use std::io::{Cursor, Read};

use parquet::basic::{BrotliLevel, Compression, Encoding, GzipLevel, ZstdLevel};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion};

use super::super::super::tests::{KEY, all, collect, counts, is_invalid};
use super::super::super::{ArchiveFormat, Origin, Selection, SkipReason};
use super::super::levels::{Runs, bits_for};
use super::super::snappy::SnappyReader;
use super::*;
use crate::modality::Modality;
use sha2::{Digest, Sha256};

const STRUCT: &str = "message m { required int32 label; optional group image { optional binary path (UTF8); optional binary bytes; } }";

/// Cells of one row group: none, a struct without bytes, or one with.
fn group(cells: &[Option<Option<Vec<u8>>>]) -> Vec<Chunk> {
    let level = |cell: &Option<Option<Vec<u8>>>| match cell {
        None => 0,
        Some(None) => 1,
        Some(Some(_)) => 2,
    };
    let bytes = cells.iter().flatten().flatten().cloned().collect();
    let paths = cells.iter().flatten().map(|_| b"a.jpg".to_vec()).collect();
    let path_levels: Vec<i16> = cells.iter().map(|cell| if cell.is_some() { 2 } else { 0 }).collect();
    vec![
        Chunk::required(Values::Short(vec![1; cells.len()])),
        Chunk::levels(Values::Bytes(paths), &path_levels, &[]),
        Chunk::levels(Values::Bytes(bytes), &cells.iter().map(level).collect::<Vec<_>>(), &[]),
    ]
}

/// The row groups' order that the documentation promises, computed from its words.
fn promised_order(groups: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..groups).collect();
    order.sort_by_key(|&group| {
        let mut input = seed.to_le_bytes().to_vec();
        input.extend((KEY.len() as u64).to_le_bytes());
        input.extend(KEY.as_bytes());
        input.extend((group as u64).to_le_bytes());
        Sha256::digest(input).to_vec()
    });
    order
}

#[test]
fn every_compression_and_encoding_gives_the_same_media() {
    let cells: Vec<Vec<Option<Option<Vec<u8>>>>> = (0..4)
        .map(|group| {
            let cell = |row: usize| match row % 7 {
                0 => None,
                1 => Some(None),
                2 => Some(Some(jpeg(1, 300))),
                _ => Some(Some(jpeg(100 * group + row, 10 * row * row))),
            };
            (0..40 + group).map(cell).collect()
        })
        .collect();
    let groups: Vec<Vec<Chunk>> = cells.iter().map(|cells| group(cells)).collect();
    let mut first_rows = vec![0];
    first_rows.extend(cells.iter().scan(0, |sum, cells| {
        *sum += cells.len();
        Some(*sum)
    }));
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4_RAW,
    ];
    type Change = fn(WriterPropertiesBuilder) -> WriterPropertiesBuilder;
    let changes: [Change; 6] = [
        |properties| properties,
        |properties| properties.set_dictionary_enabled(false),
        |properties| {
            properties.set_dictionary_enabled(false).set_data_page_size_limit(500).set_write_batch_size(3)
        },
        |properties| properties.set_data_page_row_count_limit(5).set_write_batch_size(5),
        |properties| properties.set_dictionary_enabled(false).set_encoding(Encoding::DELTA_LENGTH_BYTE_ARRAY),
        |properties| properties.set_dictionary_enabled(false).set_encoding(Encoding::DELTA_BYTE_ARRAY),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for (number, change) in changes.iter().enumerate() {
                let base = WriterProperties::builder().set_compression(codec).set_writer_version(version);
                // Delta encodings of bytes suit no integers.
                let label = parquet::schema::types::ColumnPath::from("label");
                let properties = change(base).set_column_encoding(label, Encoding::PLAIN).build();
                let bytes = file(STRUCT, properties, &groups);
                let seed = number as u64;
                let selection = Selection { seed, ..all(Modality::Image) };
                let (media, outcome) = collect(&bytes, ArchiveFormat::Parquet, &selection);
                let expected: Vec<(Origin, Vec<u8>)> = promised_order(4, seed)
                    .into_iter()
                    .flat_map(|group| {
                        let first = first_rows[group];
                        cells[group].iter().enumerate().filter_map(move |(row, cell)| {
                            let origin = Origin {
                                row: Some((first + row) as u64),
                                column: Some("image".into()),
                                ..Origin::default()
                            };
                            Some((origin, cell.clone()??))
                        })
                    })
                    .collect();
                assert!(media == expected, "{codec:?} {version:?} {number}");
                let empty = cells.iter().flatten().filter(|cell| !matches!(cell, Some(Some(_)))).count();
                assert_eq!(counts(&outcome.unwrap()), [(SkipReason::EmptyCell, empty as u64)]);
            }
        }
    }
}

#[test]
fn a_dictionary_larger_than_what_is_kept_is_read_along_and_again() {
    let values: Vec<Vec<u8>> = (0..45).map(|number| jpeg(number, 1 << 20)).collect();
    let order: Vec<usize> = (0..45).chain([44, 43, 0, 2, 1, 44, 20]).collect();
    for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_dictionary_page_size_limit(1 << 30)
            .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
            .build();
        let cells = order.iter().map(|&number| values[number].clone()).collect();
        let groups = [vec![Chunk::required(Values::Bytes(cells))]];
        let bytes = file("message m { required binary image; }", properties, &groups);
        assert!(bytes.len() < 50 << 20, "each value once, or it is no dictionary");
        let mut rows = order.iter().enumerate();
        let mut source = Cursor::new(bytes);
        let selection = all(Modality::Image);
        let outcome = super::super::super::extract(
            &mut source,
            ArchiveFormat::Parquet,
            &selection,
            &crate::stop::StopFlag::default(),
            &mut |medium| {
                let (row, &number) = rows.next().unwrap();
                let mut content = Vec::new();
                medium.content.read_to_end(&mut content).unwrap();
                assert!(medium.origin.row == Some(row as u64) && content == values[number], "row {row}");
                Ok(super::super::super::Flow::Continue)
            },
        );
        assert_eq!(counts(&outcome.unwrap()), []);
        assert!(rows.next().is_none());
    }
}

#[test]
fn a_truncated_or_damaged_file_is_an_error() {
    let bytes = binary_file(&(0..20).map(|number| jpeg(number, 1000)).collect::<Vec<_>>());
    for length in [0, 3, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        let (_, outcome) = collect(&bytes[..length], ArchiveFormat::Parquet, &all(Modality::Image));
        assert!(is_invalid(&outcome), "{length}");
    }
    // The header of the first page.
    let mut damaged = bytes;
    damaged[4..30].fill(0xFF);
    let (media, outcome) = collect(&damaged, ArchiveFormat::Parquet, &all(Modality::Image));
    assert!(is_invalid(&outcome) && media.is_empty(), "{outcome:?}");
}

#[test]
fn runs_are_decoded_as_the_format_describes_them() {
    // The example of the format's own page: the numbers 0 to 7 in 3 bits.
    let packed = [0x03, 0b1000_1000, 0b1100_0110, 0b1111_1010];
    let mut runs = Runs::new(&packed[..], 3).unwrap();
    let decoded: Vec<u32> = (0..8).map(|_| runs.next().unwrap()).collect();
    assert_eq!(decoded, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(runs.next().is_err());
    // 100 times 300, then 3 times 1, in 9 bits.
    let repeated = [0xC8, 0x01, 0x2C, 0x01, 0x06, 0x01, 0x00];
    let mut runs = Runs::new(&repeated[..], 9).unwrap();
    let decoded: Vec<u32> = (0..103).map(|_| runs.next().unwrap()).collect();
    assert!(decoded[..100].iter().all(|&number| number == 300) && decoded[100..] == [1, 1, 1]);
    assert!(Runs::new(&repeated[..], 33).is_err());
    assert_eq!([0, 1, 2, 3, 4].map(bits_for), [0, 1, 2, 2, 3]);
}

#[test]
fn snappy_copies_reach_back_and_broken_ones_are_errors() {
    let decoded = |bytes: &[u8]| {
        let mut plain = Vec::new();
        SnappyReader::new(bytes).read_to_end(&mut plain).map(|_| plain)
    };
    // A literal "ab", a copy of 4 from 2 back, one of 5 from 6 back (two bytes), one of 3 from 1 back (four bytes).
    let bytes = [14, 0x04, b'a', b'b', 0x01, 2, 0x12, 6, 0, 0x0B, 1, 0, 0, 0];
    assert_eq!(decoded(&bytes).unwrap(), b"abababababaaaa");
    assert_eq!(decoded(&[0]).unwrap(), b"");
    let long = [&[0xE9, 0x07, 0xF4, 0xE8, 0x03][..], &[7; 1001]].concat();
    assert_eq!(decoded(&long).unwrap(), [7; 1001]);
    for broken in
        [&[][..], &[5, 0x04, b'a'], &[4, 0x01, 1], &[9, 0x00, b'a', 0x01, 2], &[1, 0x04, b'a', b'b']]
    {
        assert!(decoded(broken).is_err(), "{broken:?}");
    }
}
