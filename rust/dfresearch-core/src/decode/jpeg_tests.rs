#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

/// A picture with edges, gradients and saturated colours, `[height, width, components]`.
fn picture(width: usize, height: usize, components: usize) -> Vec<u8> {
    (0..width * height)
        .flat_map(|at| {
            let (x, y) = (at % width, at / width);
            [x * 7 + y * 3, (x / 5 + y / 3) % 2 * 255, x * y / 4, x * 2 + 40]
                .into_iter()
                .take(components)
                .map(|value| value as u8)
        })
        .collect()
}

/// A JPEG of one, three or four components.
fn encoded(width: usize, height: usize, components: usize, quality: u8) -> Vec<u8> {
    let pixels = picture(width, height, components);
    let mut codec = JpegCodec::new();
    let mut image = Image {
        rows: pixels.as_ptr(),
        components: components as c_int,
        ..Image::pixels(width * height * 3, width, height, quality).unwrap()
    };
    let handle = codec.handle().unwrap();
    handle.run(dfresearch_jpeg_encode, &mut image).unwrap();
    handle.output().to_vec()
}

fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut out = RgbImage::default();
    JpegCodec::new().decode_rgb(bytes, &ImageLimits::default(), &mut out)?;
    Ok(out)
}

fn recompress(bytes: &[u8]) -> Vec<u8> {
    JpegCodec::new().recompress(bytes, &ImageLimits::default()).unwrap()
}

/// The bytes with one segment more, right behind the start of the image.
fn with_segment(bytes: &[u8], code: u8, content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u16 + 2).to_be_bytes();
    [&bytes[..2], &[0xff, code], &length, content, &bytes[2..]].concat()
}

/// Where the content of the first segment of this code begins.
fn segment_at(bytes: &[u8], code: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, code]).unwrap() + 4
}

#[test]
fn round_trip_equals_encode_and_decode() {
    let mut codec = JpegCodec::new();
    for (width, height) in [(1, 1), (7, 3), (16, 16), (17, 33), (64, 48), (224, 224), (255, 1), (1, 100)] {
        for quality in [1, 15, 55, 75, 95, 100] {
            let mut pixels = picture(width, height, 3);
            let mut again = pixels.clone();
            let encoded = codec.encode_rgb(&pixels, width, height, quality).unwrap().to_vec();
            codec.round_trip_rgb(&mut pixels, width, height, quality).unwrap();
            assert_eq!(decode(&encoded).unwrap().data, pixels, "{width}x{height} at quality {quality}");
            codec.round_trip_rgb_by_libjpeg(&mut again, width, height, quality).unwrap();
            assert_eq!(again, pixels, "libjpeg's steps, {width}x{height} at quality {quality}");
        }
    }
}

#[test]
fn recompressed_pixels_equal_the_decoded_recompressed_bytes() {
    let mut codec = JpegCodec::new();
    let mut out = RgbImage::default();
    for components in [3, 1, 4] {
        for (width, height) in [(90, 70), (1, 1), (16, 40), (33, 15)] {
            let bytes = encoded(width, height, components, 92);
            let expected = decode(&recompress(&bytes)).unwrap();
            codec.recompress_decode_rgb(&bytes, &ImageLimits::default(), &mut out).unwrap();
            assert_eq!(out, expected, "{components} components, {width}x{height}");
            codec.recompress_decode_rgb_by_libjpeg(&bytes, &ImageLimits::default(), &mut out).unwrap();
            assert_eq!(out, expected, "libjpeg's steps, {components} components, {width}x{height}");
        }
    }
}

#[test]
fn a_region_of_recompressed_pixels_equals_the_whole_image() {
    let mut codec = JpegCodec::new();
    let (mut part, mut whole) = (RgbImage::default(), RgbImage::default());
    for components in [3, 1, 4] {
        let bytes = encoded(150, 90, components, 92);
        let limits = ImageLimits::default();
        codec.recompress_decode_rgb(&bytes, &limits, &mut whole).unwrap();
        for (top, left, height, width) in [(0, 30, 90, 90), (33, 17, 1, 1), (89, 149, 1, 1), (31, 64, 20, 86)]
        {
            let wanted = |size| {
                assert_eq!(size, (90, 150));
                Region { top, left, height, width }
            };
            codec.recompress_decode_region(&bytes, &limits, wanted, &mut part).unwrap();
            assert_eq!((part.width, part.height), (150, 90));
            for y in top..top + height {
                let pixels = (y * 150 + left) * 3..(y * 150 + left + width) * 3;
                assert_eq!(part.data[pixels.clone()], whole.data[pixels], "{components} components, row {y}");
            }
        }
    }
}

#[test]
fn recompressing_keeps_the_components_and_the_comment_and_drops_the_rest() {
    for components in [1, 3, 4] {
        let bytes = encoded(40, 30, components, 92);
        let bytes = with_segment(&bytes, 0xe1, b"Exif\0\0 a camera");
        let bytes = with_segment(&bytes, 0xfe, b"a first comment");
        let again = recompress(&with_segment(&bytes, 0xe2, b"ICC_PROFILE\0\x01\x01 a profile"));
        let header = JpegHeader::read(&again, &ImageLimits::default()).unwrap();
        assert_eq!((header.width, header.height, header.components), (40, 30, components));
        assert_eq!(header.comment, b"a first comment");
        assert!(!again.windows(4).any(|word| word == b"Exif" || word == b"ICC_"));
    }
    // Quality 75 is the default: a second pass over the same pixels differs from an explicit 75 in nothing.
    let pixels = decode(&encoded(40, 30, 3, 92)).unwrap().data;
    let explicit = JpegCodec::new().encode_rgb(&pixels, 40, 30, 75).unwrap().to_vec();
    assert_eq!(recompress(&encoded(40, 30, 3, 92)), explicit);
}

#[test]
fn cmyk_is_taken_as_inverted() {
    let flat = |cmyk: [u8; 4]| {
        let pixels = cmyk.repeat(64);
        let mut codec = JpegCodec::new();
        let mut image =
            Image { rows: pixels.as_ptr(), components: 4, ..Image::pixels(192, 8, 8, 100).unwrap() };
        codec.handle().unwrap().run(dfresearch_jpeg_encode, &mut image).unwrap();
        let bytes = codec.handle().unwrap().output().to_vec();
        decode(&bytes).unwrap().data[..3].to_vec()
    };
    assert_eq!(flat([255, 255, 255, 255]), [255, 255, 255]);
    assert_eq!(flat([255, 255, 255, 0]), [0, 0, 0]);
    // 200 - round((255 - 100) * 200 / 255) = 200 - 122
    assert_eq!(flat([255, 100, 0, 200]), [200, 78, 0]);
}

#[test]
fn a_codec_remembers_nothing_of_other_images() {
    let files: Vec<_> = [1, 3, 4].map(|components| encoded(65, 44, components, 80)).into();
    let expected: Vec<_> = files.iter().map(|bytes| decode(bytes).unwrap()).collect();
    let mut codec = JpegCodec::new();
    let mut out = RgbImage::default();
    for at in [0, 1, 2, 1, 0, 2, 2] {
        let limits = ImageLimits::default();
        assert!(codec.decode_rgb(&files[at][..files[at].len() / 2], &limits, &mut out).is_err());
        assert_eq!(out, RgbImage::default(), "a refused image leaves nothing behind");
        codec.decode_rgb(&files[at], &limits, &mut out).unwrap();
        assert_eq!(out, expected[at]);
    }
}

#[test]
fn threads_decode_alike() {
    let bytes = encoded(200, 150, 3, 90);
    let expected = decode(&recompress(&bytes)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut codec = JpegCodec::new();
                let mut out = RgbImage::default();
                for _ in 0..10 {
                    codec.recompress_decode_rgb(&bytes, &ImageLimits::default(), &mut out).unwrap();
                    assert_eq!(out, expected);
                }
            });
        }
    });
}

#[test]
fn truncated_at_any_byte_is_refused() {
    for components in [1, 3, 4] {
        let bytes = encoded(40, 30, components, 75);
        let mut codec = JpegCodec::new();
        let mut out = RgbImage::default();
        for length in 1..bytes.len() {
            let limits = ImageLimits::default();
            let error = codec.decode_rgb(&bytes[..length], &limits, &mut out);
            assert!(error.is_err(), "{components} components, {length} of {} bytes", bytes.len());
            assert!(codec.recompress_decode_rgb(&bytes[..length], &limits, &mut out).is_err());
            assert!(codec.recompress(&bytes[..length], &limits).is_err());
        }
        let without_end = decode(&bytes[..bytes.len() - 2]);
        assert!(matches!(without_end, Err(DecodeError::Truncated { .. })), "{without_end:?}");
    }
    assert_eq!(decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn damage_that_libjpeg_only_warns_of_passes() {
    let bytes = encoded(64, 64, 3, 75);
    let whole = decode(&bytes).unwrap();
    assert_eq!(decode(&[&bytes[..], b"trailing bytes"].concat()).unwrap(), whole);

    // An end-of-image marker in the middle of the scan: the rest is made up by libjpeg.
    let mut cut = bytes[..bytes.len() * 3 / 4].to_vec();
    cut.extend([0xff, 0xd9]);
    let cut = decode(&cut).unwrap();
    assert_eq!(cut.data.len(), whole.data.len());
    assert_ne!(cut, whole);
}

#[test]
fn what_pillow_does_not_open_is_refused() {
    let bytes = encoded(32, 32, 3, 75);
    let frame = segment_at(&bytes, 0xc0);
    let changed = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        decode(&bytes)
    };
    assert!(matches!(changed(frame, 12), Err(DecodeError::Unsupported { .. })), "12 bits a sample");
    assert!(matches!(changed(frame + 5, 2), Err(DecodeError::Unsupported { .. })), "two components");
    assert!(matches!(changed(frame + 2, 0), Err(DecodeError::Corrupt { .. })), "no rows");
    let leading = decode(&[b"x", &bytes[..]].concat());
    assert!(matches!(leading, Err(DecodeError::Corrupt { .. })), "leading bytes");
    assert!(decode(&with_segment(&bytes, 0xee, b"Adobe")).is_err(), "a short Adobe segment");
    assert!(decode(&with_segment(&bytes, 0x01, b"")).is_err(), "a marker that Pillow does not know");
    assert!(decode(b"\xff\xd8\xff\xd9").is_err(), "no frame");
}

#[test]
fn the_header_is_held_against_the_limits_first() {
    let mut bytes = encoded(16, 16, 3, 75);
    let frame = segment_at(&bytes, 0xc0);
    bytes[frame + 1..frame + 5].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let error = decode(&bytes).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { width: 60_000, height: 60_000, .. }), "{error}");

    let limits = ImageLimits { max_side: 15, ..ImageLimits::default() };
    let small = encoded(16, 10, 1, 75);
    assert!(JpegCodec::new().recompress(&small, &limits).is_err());
}

#[test]
fn sizes_that_cannot_be_encoded_are_named() {
    let mut codec = JpegCodec::new();
    let reason = codec.encode_rgb(&[0; 10], 2, 2, 75).unwrap_err().to_string();
    assert!(reason.contains("2x2 RGB pixels in 10 bytes"), "{reason}");
    assert!(codec.round_trip_rgb(&mut [], 0, 4, 75).is_err());
    assert!(codec.encode_rgb(&[0; 70_000 * 3], 70_000, 1, 75).is_err());
}
