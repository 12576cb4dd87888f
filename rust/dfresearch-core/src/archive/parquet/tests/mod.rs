//! Parquet files, written by the parquet crate's own writer.

mod cells;
mod choosing;
mod filtering;
mod pages;

use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// The values of a column.
pub(super) enum Values {
    Bytes(Vec<Vec<u8>>),
    Single(Vec<f32>),
    Double(Vec<f64>),
    Short(Vec<i32>),
    Long(Vec<i64>),
    Boolean(Vec<bool>),
}

/// A column of a row group, with its levels.
pub(super) struct Chunk {
    pub values: Values,
    pub definition: Vec<i16>,
    pub repetition: Vec<i16>,
}

impl Chunk {
    /// A column without nulls and lists.
    pub fn required(values: Values) -> Self {
        Self { values, definition: Vec::new(), repetition: Vec::new() }
    }

    pub fn levels(values: Values, definition: &[i16], repetition: &[i16]) -> Self {
        Self { values, definition: definition.to_vec(), repetition: repetition.to_vec() }
    }
}

/// A parquet file of these row groups.
pub(super) fn file(schema: &str, properties: WriterProperties, groups: &[Vec<Chunk>]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for group in groups {
        let mut rows = writer.next_row_group().unwrap();
        for chunk in group {
            let mut column = rows.next_column().unwrap().unwrap();
            let some = |levels: &Vec<i16>| (!levels.is_empty()).then(|| levels.clone());
            let (definition, repetition) = (some(&chunk.definition), some(&chunk.repetition));
            macro_rules! write {
                ($kind:ty, $values:expr) => {
                    column.typed::<$kind>().write_batch($values, definition.as_deref(), repetition.as_deref())
                };
            }
            match &chunk.values {
                Values::Bytes(values) => {
                    let values: Vec<ByteArray> = values.iter().map(|value| value.clone().into()).collect();
                    write!(ByteArrayType, &values)
                }
                Values::Single(values) => write!(FloatType, values),
                Values::Double(values) => write!(DoubleType, values),
                Values::Short(values) => write!(Int32Type, values),
                Values::Long(values) => write!(Int64Type, values),
                Values::Boolean(values) => write!(BoolType, values),
            }
            .unwrap();
            column.close().unwrap();
        }
        assert!(rows.next_column().unwrap().is_none(), "a chunk for every column");
        rows.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// A file with one column of encoded images, without nulls.
pub(in super::super) fn binary_file(cells: &[Vec<u8>]) -> Vec<u8> {
    let column = Chunk::required(Values::Bytes(cells.to_vec()));
    file("message m { required binary image; }", WriterProperties::new(), &[vec![column]])
}

/// Bytes that begin as a JPEG does, and go on in a way that depends on the number.
pub(super) fn jpeg(number: usize, length: usize) -> Vec<u8> {
    let noise = (0..length).map(|place| (place * place + 7 * number) as u8);
    b"\xFF\xD8\xFF\xE0".iter().copied().chain((number as u32).to_le_bytes()).chain(noise).collect()
}
