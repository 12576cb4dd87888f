#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// A picture with edges, gradients and saturated colours.
fn picture(width: usize, height: usize) -> Vec<u8> {
    (0..width * height)
        .flat_map(|at| {
            let (x, y) = (at % width, at / width);
            [(x * 7 + y * 3) as u8, ((x / 5 + y / 3) % 2 * 255) as u8, (x * y / 4) as u8]
        })
        .collect()
}

fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut out = RgbImage::default();
    JpegCodec::new().decode_rgb(bytes, &ImageLimits::default(), &mut out)?;
    Ok(out)
}

#[test]
fn round_trip_equals_encode_and_decode() {
    let mut codec = JpegCodec::new();
    for (width, height) in [(1, 1), (7, 3), (16, 16), (17, 33), (64, 48), (224, 224), (255, 1), (1, 100)] {
        for quality in [1, 15, 55, 75, 95, 100] {
            let mut pixels = picture(width, height);
            let encoded = codec.encode_rgb(&pixels, width, height, quality).unwrap().to_vec();
            codec.round_trip_rgb(&mut pixels, width, height, quality).unwrap();
            assert_eq!(decode(&encoded).unwrap().data, pixels, "{width}x{height} at quality {quality}");
        }
    }
}
