//! Mirroring left to right.

use super::{CHANNELS, check_image};
use crate::error::Result;

/// Mirrors `image`, `[height, width, 3]`, left to right.
///
/// # Errors
/// [`Error::Argument`](crate::Error::Argument) for an image that is not of the given size.
pub fn horizontal_flip(image: &mut [u8], width: usize, height: usize) -> Result<()> {
    check_image(image, width, height)?;
    for row in image.chunks_exact_mut(width * CHANNELS) {
        row.as_chunks_mut::<CHANNELS>().0.reverse();
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pixels_change_places_and_channels_do_not() {
        let mut image = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        horizontal_flip(&mut image, 2, 2).unwrap();
        assert_eq!(image, [4, 5, 6, 1, 2, 3, 10, 11, 12, 7, 8, 9]);
        assert!(horizontal_flip(&mut image, 3, 2).is_err());
    }
}
