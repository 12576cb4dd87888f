//! Plain values of a parquet file: what rows are filtered by, and the text of metadata.

use std::io::{self, Read};

use parquet::basic::{ConvertedType, Type};
use parquet::schema::types::ColumnDescriptor;

use super::column::{Column, broken};
use crate::catalog::FilterValue;

/// The longest text that is read: what is longer equals nothing.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// One plain value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Null,
    Boolean(bool),
    Integer(i128),
    Number(f64),
    Text(Vec<u8>),
}

impl Scalar {
    /// Takes the next value of a column without lists; none at the end of the row group.
    pub fn take(column: &mut dyn Column, descriptor: &ColumnDescriptor) -> io::Result<Option<Self>> {
        if column.peek()?.is_none() {
            return Ok(None);
        }
        let Some(mut value) = column.take()? else { return Ok(Some(Self::Null)) };
        if descriptor.physical_type() == Type::BYTE_ARRAY {
            if value.len() > MAX_TEXT_BYTES {
                return Err(broken(format!("a text of {} bytes", value.len())));
            }
            let mut text = Vec::new();
            value.read_to_end(&mut text)?;
            return Ok(Some(Self::Text(text)));
        }
        let Some((bytes, length)) = value.array::<8>()? else {
            return Err(broken("a number of more than 64 bits"));
        };
        let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let long = u64::from_le_bytes(bytes);
        let is_unsigned = matches!(
            descriptor.converted_type(),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
        );
        Ok(Some(match (descriptor.physical_type(), length) {
            (Type::BOOLEAN, 1) => Self::Boolean(bytes[0] != 0),
            (Type::INT32, 4) if is_unsigned => Self::Integer(word.into()),
            (Type::INT32, 4) => Self::Integer((word as i32).into()),
            (Type::INT64, 8) if is_unsigned => Self::Integer(long.into()),
            (Type::INT64, 8) => Self::Integer((long as i64).into()),
            (Type::FLOAT, 4) => Self::Number(f32::from_bits(word).into()),
            (Type::DOUBLE, 8) => Self::Number(f64::from_bits(long)),
            (kind, length) => return Err(broken(format!("a value of {length} bytes in a column of {kind}"))),
        }))
    }

    /// Whether the value equals one of a definition as Python compares them: `1 == 1.0 == True`, and no text equals
    /// a number.
    pub fn equals(&self, wanted: &FilterValue) -> bool {
        let wanted = match wanted {
            FilterValue::Text(text) => return matches!(self, Self::Text(own) if own == text.as_bytes()),
            FilterValue::Boolean(value) => Self::Integer((*value).into()),
            FilterValue::Integer(value) => Self::Integer((*value).into()),
            FilterValue::Number(value) => Self::Number(*value),
        };
        match (self, &wanted) {
            (Self::Boolean(own), wanted) => Self::Integer((*own).into()).same_number(wanted),
            (own, wanted) => own.same_number(wanted),
        }
    }

    fn same_number(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(own), Self::Integer(other)) => own == other,
            (Self::Number(own), Self::Number(other)) => own == other,
            // Beyond 2^53 not every integer is a float: both ways round, so that only equal values are equal.
            (Self::Integer(integer), Self::Number(number))
            | (Self::Number(number), Self::Integer(integer)) => {
                *integer as f64 == *number && *number as i128 == *integer
            }
            _ => false,
        }
    }

    /// The value as a person would write it; none for null and for bytes that are no text.
    pub fn text(self) -> Option<String> {
        match self {
            Self::Null => None,
            Self::Boolean(value) => Some(value.to_string()),
            Self::Integer(value) => Some(value.to_string()),
            Self::Number(value) => Some(value.to_string()),
            Self::Text(text) => String::from_utf8(text).ok(),
        }
    }

    /// The value as a number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            Self::Null | Self::Boolean(_) | Self::Text(_) => None,
        }
    }
}
