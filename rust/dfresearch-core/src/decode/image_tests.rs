#![allow(clippy::unwrap_used)]

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::decode::MAX_KEPT_BYTES;

const LIMITS: ImageLimits = ImageLimits { max_side: 65_535, max_pixels: 178_956_970 };
/// Small, so that a mutated header cannot make a test slow.
const SMALL: ImageLimits = ImageLimits { max_side: 200, max_pixels: 10_000 };

fn png_file(width: u32, height: u32, colour: ::png::ColorType, depth: ::png::BitDepth) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    encoder.set_palette((0..48).collect::<Vec<u8>>());
    let mut writer = encoder.write_header().unwrap();
    let row_bytes = (width as usize * colour.samples() * depth as usize).div_ceil(8);
    let samples: Vec<u8> = (0..row_bytes * height as usize).map(|index| (index * 7) as u8).collect();
    writer.write_image_data(&samples).unwrap();
    writer.finish().unwrap();
    file
}

fn bmp_file(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend_from_slice(&width.to_le_bytes());
    file.extend_from_slice(&height.to_le_bytes());
    file.extend_from_slice(b"\x01\0\x18\0");
    file.resize(54, 0);
    file.extend((0..width.next_multiple_of(4) * 3 * height.min(300)).map(|index| index as u8));
    file
}

fn gif_file() -> Vec<u8> {
    let mut file = b"GIF89a\x05\0\x04\0\x80\0\0\x01\x02\x03\xf0\xf1\xf2".to_vec();
    file.extend_from_slice(b"!\xf9\x04\x01\0\0\x01\0,\x01\0\x01\0\x02\0\x02\0\x40\x02\x03\x44\x02\x05\0;");
    file
}

fn tiff_file(compression: ::tiff::encoder::Compression) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    let mut encoder = ::tiff::encoder::TiffEncoder::new(&mut file).unwrap().with_compression(compression);
    let samples: Vec<u8> = (0..90).collect();
    encoder.write_image::<::tiff::encoder::colortype::RGB8>(6, 5, &samples).unwrap();
    file.into_inner()
}

fn files() -> Vec<Vec<u8>> {
    use ::png::{BitDepth, ColorType};
    vec![
        png_file(9, 7, ColorType::Rgb, BitDepth::Eight),
        png_file(9, 7, ColorType::Indexed, BitDepth::Four),
        png_file(9, 7, ColorType::GrayscaleAlpha, BitDepth::Sixteen),
        bmp_file(9, 7),
        gif_file(),
        tiff_file(::tiff::encoder::Compression::Uncompressed),
        tiff_file(::tiff::encoder::Compression::Packbits),
    ]
}

fn decoded(bytes: &[u8], limits: &ImageLimits) -> Result<RgbImage, DecodeError> {
    let mut image = RgbImage::default();
    ImageDecoder::new().decode(bytes, limits, &mut image).map(|()| image)
}

#[test]
fn formats_are_told_by_content() {
    let formats: Vec<_> = files().iter().map(|file| ImageFormat::sniff(file).unwrap()).collect();
    use ImageFormat::{Bmp, Gif, Png, Tiff};
    assert_eq!(formats, [Png, Png, Png, Bmp, Gif, Tiff, Tiff]);
    assert_eq!(ImageFormat::sniff(b"\xff\xd8\xff\xe0"), Ok(ImageFormat::Jpeg));
    assert_eq!(ImageFormat::sniff(b"RIFF\0\0\0\0WEBPVP8 "), Ok(ImageFormat::WebP));
}

#[test]
fn what_is_no_image_is_said_to_be_what_it_looks_like() {
    let found = |bytes: &[u8]| ImageFormat::sniff(bytes).unwrap_err().to_string();
    assert_eq!(found(b""), "the file is empty");
    assert_eq!(found(b"\xef\xbb\xbf\n <!DOCTYPE html>"), "not a known image format: HTML text");
    assert_eq!(found(b"<?xml version='1.0'?><Error/>"), "not a known image format: XML text");
    assert_eq!(found(b"{\"error\": 404}"), "not a known image format: JSON text");
    assert_eq!(found(b"Not found"), "not a known image format: plain text");
    assert_eq!(found(b"PK\x03\x04"), "not a known image format: a ZIP archive");
    assert_eq!(found(b"\0\0\0\x20ftypavif"), "not a known image format: an AVIF image");
    assert_eq!(found(&[0; 900]), "not a known image format: nothing but zero bytes");
    assert_eq!(found(b"\x01\x02\xff"), "not a known image format: binary data that begins with [01, 02, ff]");
    let cut_character = ["é".repeat(300).as_bytes(), b"x"].concat();
    assert_eq!(
        found(&cut_character[1..]),
        "not a known image format: binary data that begins with [a9, c3, a9, c3, a9, c3, a9, c3]"
    );
    assert_eq!(found(&[b"x", cut_character.as_slice()].concat()), "not a known image format: plain text");
}

#[test]
fn dimensions_are_those_of_the_decoded_image() {
    for file in files() {
        let image = decoded(&file, &LIMITS).unwrap();
        assert_eq!(read_dimensions(&file, &LIMITS), Ok((image.width, image.height)));
        assert_eq!(image.data.len(), image.width * image.height * 3);
    }
}

#[test]
fn dimensions_need_no_more_than_the_header() {
    assert_eq!(read_dimensions(&files()[0][..33], &LIMITS), Ok((9, 7)));
    assert_eq!(read_dimensions(&bmp_file(9, 7)[..54], &LIMITS), Ok((9, 7)));
    let webp = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x7f\x02\0\xdf\x01\0";
    assert_eq!(read_dimensions(webp, &LIMITS), Ok((640, 480)));
}

#[test]
fn a_huge_header_is_refused_before_anything_is_allocated() {
    let huge = bmp_file(60_000, 60_000);
    let too_large =
        DecodeError::TooLarge { width: 60_000, height: 60_000, limit: "178956970 pixels in all".into() };
    assert_eq!(decoded(&huge, &LIMITS), Err(too_large.clone()));
    assert_eq!(read_dimensions(&huge, &LIMITS), Err(too_large));
    let wide = DecodeError::TooLarge { width: 65_536, height: 1, limit: "65535 pixels a side".into() };
    assert_eq!(decoded(&bmp_file(65_536, 1), &LIMITS), Err(wide));
    assert!(decoded(&bmp_file(200, 50), &SMALL).is_ok());
    assert!(matches!(decoded(&bmp_file(200, 51), &SMALL), Err(DecodeError::TooLarge { .. })));
}

#[test]
fn memory_that_cannot_be_had_is_an_error_and_no_abort() {
    let unlimited = ImageLimits { max_side: usize::MAX, max_pixels: usize::MAX };
    // 420 terabytes of pixels: more than a process can address.
    let (width, height) = (1_u32 << 24, 1_u32 << 23);
    let [mut png, mut bmp, mut run_lengths] = [files().swap_remove(0), bmp_file(9, 7), bmp_file(9, 7)];
    png[16..24].copy_from_slice(&[width.to_be_bytes(), height.to_be_bytes()].concat());
    let checksum = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    bmp[18..26].copy_from_slice(&[width.to_le_bytes(), height.to_le_bytes()].concat());
    run_lengths[18..26].copy_from_slice(&bmp[18..26]);
    run_lengths[28..31].copy_from_slice(&[8, 0, 1]);
    let mut tiff = files().swap_remove(5);
    for (tag, size) in [(256_u16, width), (257, height), (278, height)] {
        let entry = [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0]].concat();
        let place = tiff.windows(8).position(|window| window == entry).unwrap() + 8;
        tiff[place..place + 4].copy_from_slice(&size.to_le_bytes());
    }
    for file in [png, bmp, run_lengths, tiff] {
        let error = decoded(&file, &unlimited).unwrap_err();
        assert_eq!(error, DecodeError::OutOfMemory { bytes: 3 << 47 });
    }
}

#[test]
fn a_decoder_carries_nothing_over_from_one_image_to_the_next() {
    let mut decoder = ImageDecoder::new();
    let mut image = RgbImage::default();
    for file in files().iter().chain(files().iter().rev()) {
        decoder.decode(file, &LIMITS, &mut image).unwrap();
        assert_eq!(image, decoded(file, &LIMITS).unwrap());
    }
    assert!(decoder.decode(&files()[0][..60], &LIMITS, &mut image).is_err());
    assert_eq!(image, RgbImage::default());
}

#[test]
fn the_memory_of_a_huge_image_is_given_back() {
    let mut decoder = ImageDecoder::new();
    let mut image = RgbImage::default();
    for file in files() {
        decoder.scratch().for_each(|buffer| *buffer = Vec::with_capacity(MAX_KEPT_BYTES + 1));
        image.data = Vec::with_capacity(MAX_KEPT_BYTES + 1);
        decoder.decode(&file, &LIMITS, &mut image).unwrap();
        let capacities: Vec<_> = decoder.scratch().map(|buffer| buffer.capacity()).collect();
        assert!(capacities.iter().all(|capacity| *capacity <= MAX_KEPT_BYTES), "{capacities:?}");
        assert!(image.data.capacity() <= MAX_KEPT_BYTES);
    }
    decoder.decode(&files()[1], &LIMITS, &mut image).unwrap();
    assert!(decoder.scratch().any(|buffer| buffer.capacity() > 0), "an ordinary buffer is kept");
}

#[test]
fn a_gif_frame_lies_on_its_transparent_colour() {
    let image = decoded(&gif_file(), &LIMITS).unwrap();
    assert_eq!((image.width, image.height), (5, 4));
    assert_eq!(image.data[..3], [0xf0, 0xf1, 0xf2]);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.png");
    assert!(matches!(decode_image_file(&missing, &LIMITS), Err(Error::NotFound { path }) if path == missing));
    assert!(matches!(decode_image_file(folder.path(), &LIMITS), Err(Error::Io { .. })));

    let page = folder.path().join("page.jpg");
    std::fs::File::create(&page).unwrap().write_all(b"<html>").unwrap();
    let message = decode_image_file(&page, &LIMITS).unwrap_err().to_string();
    assert_eq!(message, format!("{}: not a known image format: HTML text", page.display()));

    let wrong_name = folder.path().join("bitmap.jpg");
    std::fs::write(&wrong_name, bmp_file(9, 7)).unwrap();
    assert_eq!(decode_image_file(&wrong_name, &LIMITS).unwrap().width, 9);
    assert_eq!(recompress_image_file(&wrong_name, &LIMITS).unwrap(), bmp_file(9, 7));
    assert_eq!(decode_image_bytes(b"", &LIMITS).unwrap_err().to_string(), "<bytes>: the file is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_panic(format in 0_usize..7, tail in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = files().swap_remove(format);
        bytes.truncate(8);
        bytes.extend(tail);
        let _ = decoded(&bytes, &SMALL);
        let _ = read_dimensions(&bytes, &SMALL);
    }

    #[test]
    fn no_mutation_panics(
        format in 0_usize..7,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = files().swap_remove(format);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if let Ok(image) = decoded(&bytes, &SMALL) {
            prop_assert_eq!(image.data.len(), image.width * image.height * 3);
        }
        let _ = read_dimensions(&bytes, &SMALL);
    }
}
