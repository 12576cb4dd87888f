//! Rows by the value of a column, and columns of text.

use std::io::{Cursor, Read, Seek, SeekFrom};

use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::super::super::tests::{KEY, all, collect, collect_from};
use super::super::super::{ArchiveFormat, ByteSource, Flow, Selection, read_rows};
use super::super::scalar::Scalar;
use super::*;
use crate::catalog::FilterValue;
use crate::error::{Error, FetchErrorKind};
use crate::modality::Modality;

const NONE: [u64; 0] = [];

fn rows(bytes: &[u8], name: &str, value: &FilterValue) -> Result<Vec<u64>, Error> {
    let selection = Selection { filter: Some((name, value)), ..all(Modality::Image) };
    let (media, outcome) = collect(bytes, ArchiveFormat::Parquet, &selection);
    let mut rows: Vec<u64> = media.iter().map(|(origin, _)| origin.row.unwrap()).collect();
    for ((origin, bytes), row) in media.iter().zip(&rows) {
        assert_eq!(bytes, &jpeg(*row as usize, 100), "{origin}");
    }
    rows.sort_unstable();
    outcome.map(|_| rows)
}

#[test]
fn rows_are_taken_by_values_of_every_type() {
    let schema = "message m { required binary text (UTF8); optional int64 integer; required boolean flag;
        required double number; required int32 small (UINT_8); required binary image; }";
    let group = |first: usize| {
        let count = 30;
        let numbers = || (first..first + count).map(|row| row % 5);
        let integers: Vec<i64> =
            numbers().filter(|number| *number != 4).map(|number| number as i64).collect();
        let levels: Vec<i16> = numbers().map(|number| i16::from(number != 4)).collect();
        vec![
            Chunk::required(Values::Bytes(numbers().map(|number| number.to_string().into_bytes()).collect())),
            Chunk::levels(Values::Long(integers), &levels, &[]),
            Chunk::required(Values::Boolean(numbers().map(|number| number == 1).collect())),
            Chunk::required(Values::Double(numbers().map(|number| number as f64 / 2.0).collect())),
            Chunk::required(Values::Short(numbers().map(|number| number as i32 + 200).collect())),
            Chunk::required(Values::Bytes((first..first + count).map(|row| jpeg(row, 100)).collect())),
        ]
    };
    let expected = |number: u64| (0..60).filter(|row| row % 5 == number).collect::<Vec<u64>>();
    for dictionary in [true, false] {
        let properties =
            WriterProperties::builder().set_dictionary_enabled(dictionary).set_data_page_row_count_limit(7);
        let bytes = file(schema, properties.set_write_batch_size(7).build(), &[group(0), group(30)]);
        let rows = |name: &str, value: FilterValue| rows(&bytes, name, &value).unwrap();
        assert_eq!(rows("text", FilterValue::Text("3".into())), expected(3));
        assert_eq!(rows("text", FilterValue::Integer(3)), NONE);
        assert_eq!(rows("integer", FilterValue::Integer(2)), expected(2));
        assert_eq!(rows("integer", FilterValue::Number(2.0)), expected(2));
        assert_eq!(rows("integer", FilterValue::Text("2".into())), NONE);
        assert_eq!(rows("integer", FilterValue::Integer(4)), NONE, "null equals nothing");
        assert_eq!(rows("integer", FilterValue::Boolean(true)), expected(1));
        assert_eq!(rows("flag", FilterValue::Boolean(true)), expected(1));
        assert_eq!(rows("flag", FilterValue::Integer(1)), expected(1));
        assert_eq!(rows("number", FilterValue::Number(1.5)), expected(3));
        assert_eq!(rows("number", FilterValue::Integer(2)), expected(4));
        assert_eq!(rows("small", FilterValue::Integer(204)), expected(4));
    }
    let bytes = file(schema, WriterProperties::new(), &[group(0)]);
    let error = rows(&bytes, "label", &FilterValue::Integer(1)).unwrap_err().to_string();
    assert!(error.contains(KEY) && error.contains("\"label\"") && error.contains("text, integer"), "{error}");
}

#[test]
fn values_are_equal_as_in_python() {
    let equals = |own: Scalar, wanted: FilterValue| own.equals(&wanted);
    assert!(equals(Scalar::Integer(1), FilterValue::Number(1.0)));
    assert!(equals(Scalar::Boolean(true), FilterValue::Number(1.0)));
    assert!(equals(Scalar::Number(0.0), FilterValue::Boolean(false)));
    assert!(!equals(Scalar::Text(b"1".to_vec()), FilterValue::Integer(1)));
    assert!(!equals(Scalar::Integer(1), FilterValue::Text("1".into())));
    assert!(!equals(Scalar::Number(f64::NAN), FilterValue::Number(f64::NAN)));
    assert!(!equals(Scalar::Null, FilterValue::Boolean(false)));
    // 2^53 + 1 is no float.
    assert!(!equals(Scalar::Integer(9_007_199_254_740_993), FilterValue::Number(9_007_199_254_740_992.0)));
    assert!(equals(Scalar::Integer(9_007_199_254_740_992), FilterValue::Number(9_007_199_254_740_992.0)));
}

/// A source that counts the bytes that are read.
struct Counted(Cursor<Vec<u8>>, u64);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read as u64;
        Ok(read)
    }
}

impl Seek for Counted {
    fn seek(&mut self, target: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(target)
    }
}

impl ByteSource for Counted {}

#[test]
fn media_of_other_rows_are_not_read() {
    let schema = "message m { required binary image; required int32 label; }";
    let group = |label: i32, only: Option<usize>| {
        let labels = (0..100).map(|row| if only == Some(row) { 1 } else { label }).collect();
        vec![
            Chunk::required(Values::Bytes((0..100).map(|row| jpeg(row, 20_000)).collect())),
            Chunk::required(Values::Short(labels)),
        ]
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_write_batch_size(1)
        .set_data_page_size_limit(10_000)
        .build();
    let bytes = file(schema, properties, &[group(0, None), group(2, Some(77)), group(0, None)]);
    let size = bytes.len() as u64;
    assert!(size > 6_000_000);
    let wanted = FilterValue::Integer(1);
    let selection = Selection { filter: Some(("label", &wanted)), ..all(Modality::Image) };
    let mut source = Counted(Cursor::new(bytes), 0);
    let (media, outcome) = collect_from(&mut source, ArchiveFormat::Parquet, &selection);
    outcome.unwrap();
    assert_eq!(media.len(), 1);
    assert_eq!((media[0].0.row, &media[0].1), (Some(177), &jpeg(77, 20_000)));
    // The pages of the 77 rows before it are left out but for their headers, which are read by the buffer.
    assert!(source.1 < 11_000_000, "{}", source.1);
    let nothing = FilterValue::Integer(9);
    let selection = Selection { filter: Some(("label", &nothing)), ..all(Modality::Image) };
    let mut source = Counted(source.0, 0);
    assert!(collect_from(&mut source, ArchiveFormat::Parquet, &selection).0.is_empty());
    assert!(source.1 < 600_000, "{} of {size} bytes for the labels of three row groups", source.1);
}

#[test]
fn columns_of_text_are_read_row_by_row() {
    let schema =
        "message m { required binary name (UTF8); optional binary path (UTF8); required int32 week; }";
    let group = |first: i32| {
        vec![
            Chunk::required(Values::Bytes(
                (first..first + 3).map(|row| format!("n{row}").into_bytes()).collect(),
            )),
            Chunk::levels(Values::Bytes(vec![b"p".to_vec(), vec![0xFF]]), &[1, 0, 1], &[]),
            Chunk::required(Values::Short(vec![first; 3])),
        ]
    };
    let bytes = file(schema, WriterProperties::new(), &[group(0), group(3)]);
    let read = |columns: &[&str], most: usize| {
        let mut rows = Vec::new();
        read_rows(&mut Cursor::new(bytes.clone()), columns, &mut |row| {
            rows.push(row.into_iter().map(|cell| cell.unwrap_or("-".into())).collect::<Vec<_>>().join(" "));
            Ok(if rows.len() == most { Flow::Stop } else { Flow::Continue })
        })
        .map(|()| rows)
    };
    assert_eq!(
        read(&["week", "name", "path"], 9).unwrap(),
        ["0 n0 p", "0 n1 -", "0 n2 -", "3 n3 p", "3 n4 -", "3 n5 -"]
    );
    assert_eq!(read(&["name"], 4).unwrap(), ["n0", "n1", "n2", "n3"]);
    let error = read(&["name", "archive"], 9).unwrap_err();
    assert!(matches!(error, Error::Fetch { kind: FetchErrorKind::Invalid, .. }));
    assert!(
        error.to_string().contains("no column \"archive\"") && error.to_string().contains("name, path, week")
    );
}
