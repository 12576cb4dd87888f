//! JPEG round trip: the traces of lossy storage.

use super::{BuiltIn, OperationKind, check_image, check_parameter};
use crate::decode::JpegCodec;
use crate::error::{Error, Result};

/// Encodes `image`, `[height, width, 3]`, as JPEG of `quality` with 4:2:0 chroma, and decodes it again in place.
///
/// # Errors
/// [`Error::Augment`] for a quality outside of 1 to 100, or an image that JPEG cannot hold (sides up to 65,500).
pub fn jpeg_compress(
    image: &mut [u8],
    width: usize,
    height: usize,
    quality: u8,
    codec: &mut JpegCodec,
) -> Result<()> {
    check_parameter(OperationKind::JpegCompress, f64::from(quality))?;
    check_image(image, width, height)?;
    codec
        .round_trip_rgb(image, width, height, quality)
        .map_err(|reason| Error::augment(OperationKind::JpegCompress.name(), reason.to_string()))
}
