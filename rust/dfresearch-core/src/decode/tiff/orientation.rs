//! The orientation tag. Pillow applies it to a TIFF when it loads one, and to no other format; OpenCV applies it to
//! the frames of a folder.

use crate::decode::{RgbImage, resize_buffer};
use crate::error::DecodeError;

/// How the stored image has to be turned: mirrored along a diagonal, then flipped along the axes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::decode) struct Orientation {
    transpose: bool,
    flip_rows: bool,
    flip_columns: bool,
}

impl Orientation {
    /// Numbered as in the tag; one that does not exist turns nothing.
    pub(in crate::decode) fn from_number(number: u64) -> Self {
        let (transpose, flip_rows, flip_columns) = match number {
            2 => (false, false, true),
            3 => (false, true, true),
            4 => (false, true, false),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => (false, false, false),
        };
        Self { transpose, flip_rows, flip_columns }
    }

    /// The orientation that an XMP packet states, as an attribute or as an element.
    pub(super) fn from_xmp(xmp: &[u8]) -> Self {
        const NAME: &[u8] = b"tiff:Orientation";
        let stated = xmp.windows(NAME.len() + 3).find_map(|window| match window.strip_prefix(NAME)? {
            [b'>', digit @ b'0'..=b'9', _] | [b'=', b'"', digit @ b'0'..=b'9'] => Some(digit - b'0'),
            _ => None,
        });
        Self::from_number(u64::from(stated.unwrap_or(1)))
    }

    /// Width and height after the turn.
    pub(super) fn turned_size(self, (width, height): (usize, usize)) -> (usize, usize) {
        if self.transpose { (height, width) } else { (width, height) }
    }

    /// Turns `image`, through `scratch`.
    pub(in crate::decode) fn apply(
        self,
        image: &mut RgbImage,
        scratch: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if self == Self::default() {
            return Ok(());
        }
        let (width, height) = self.turned_size((image.width, image.height));
        resize_buffer(scratch, image.data.len())?;
        scratch.copy_from_slice(&image.data);
        let stored = scratch.as_chunks::<3>().0;
        for (row, target) in image.data.chunks_exact_mut(width * 3).enumerate() {
            let row = if self.flip_rows { height - 1 - row } else { row };
            for (column, pixel) in target.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let column = if self.flip_columns { width - 1 - column } else { column };
                let stored_index =
                    if self.transpose { column * image.width + row } else { row * image.width + column };
                *pixel = stored[stored_index];
            }
        }
        (image.width, image.height) = (width, height);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two rows of three pixels, numbered from the top left.
    fn turned(number: u64) -> (usize, Vec<u8>) {
        let data = (0..6).flat_map(|value| [value; 3]).collect();
        let mut image = RgbImage { width: 3, height: 2, data };
        Orientation::from_number(number).apply(&mut image, &mut Vec::new()).unwrap();
        (image.width, image.data.iter().step_by(3).copied().collect())
    }

    #[test]
    fn every_orientation_puts_the_first_row_and_column_where_the_standard_says() {
        assert_eq!(turned(1), (3, vec![0, 1, 2, 3, 4, 5]));
        assert_eq!(turned(2), (3, vec![2, 1, 0, 5, 4, 3]));
        assert_eq!(turned(3), (3, vec![5, 4, 3, 2, 1, 0]));
        assert_eq!(turned(4), (3, vec![3, 4, 5, 0, 1, 2]));
        assert_eq!(turned(5), (2, vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(turned(6), (2, vec![3, 0, 4, 1, 5, 2]));
        assert_eq!(turned(7), (2, vec![5, 2, 4, 1, 3, 0]));
        assert_eq!(turned(8), (2, vec![2, 5, 1, 4, 0, 3]));
        assert_eq!(turned(9), turned(1));
    }

    #[test]
    fn xmp_states_it_as_attribute_or_element() {
        assert_eq!(Orientation::from_xmp(b"x tiff:Orientation=\"6\" y"), Orientation::from_number(6));
        assert_eq!(
            Orientation::from_xmp(b"<tiff:Orientation>8</tiff:Orientation>"),
            Orientation::from_number(8)
        );
        assert_eq!(Orientation::from_xmp(b"nothing"), Orientation::default());
    }
}
