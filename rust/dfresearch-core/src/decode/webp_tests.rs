#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const WIDTH: usize = 21;
const HEIGHT: usize = 14;

fn picture(layout: Pixels) -> Vec<u8> {
    (0..WIDTH * HEIGHT)
        .flat_map(|at| [at * 11, at % 3 * 90, at / 7, at % 2 * 200 + 55].into_iter().take(layout.bytes()))
        .map(|value| value as u8)
        .collect()
}

/// A lossless file, from which the pixels come back as they were.
#[allow(unsafe_code, reason = "libwebp is C")]
fn lossless(pixels: &[u8], width: usize, height: usize, layout: Pixels) -> Vec<u8> {
    let mut output = std::ptr::null_mut();
    let stride = (width * layout.bytes()) as i32;
    // SAFETY: the slice holds the picture; the output is copied out of libwebp's memory before that is freed.
    unsafe {
        let (width, height) = (width as i32, height as i32);
        let length = match layout {
            Pixels::Rgb => {
                libwebp::WebPEncodeLosslessRGB(pixels.as_ptr(), width, height, stride, &mut output)
            }
            Pixels::Rgba => {
                libwebp::WebPEncodeLosslessRGBA(pixels.as_ptr(), width, height, stride, &mut output)
            }
        };
        let bytes = std::slice::from_raw_parts(output, length).to_vec();
        libwebp::WebPFree(output.cast());
        bytes
    }
}

fn lossy(layout: Pixels) -> Vec<u8> {
    encode(&picture(layout), WIDTH, HEIGHT, layout).unwrap().bytes().to_vec()
}

fn decode(bytes: &[u8]) -> Result<RgbImage, DecodeError> {
    let mut out = RgbImage::default();
    decode_rgb(bytes, &ImageLimits::default(), &mut out)?;
    Ok(out)
}

fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let padding = &[0][..content.len() % 2];
    [name, &(content.len() as u32).to_le_bytes()[..], content, padding].concat()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    chunk(b"RIFF", &[b"WEBP".to_vec(), chunks.concat()].concat())
}

/// An animation of one frame, whose top left corner lies at (2, 4) of a canvas of 30x20 pixels.
fn animation(still: &[u8]) -> Vec<u8> {
    let u24 = |number: usize| [number as u8, (number >> 8) as u8, 0];
    let (has_alpha, is_animated) = (0x10, 0x02);
    let canvas = [[has_alpha | is_animated, 0, 0, 0].to_vec(), [u24(29), u24(19)].concat()].concat();
    let place = [u24(1), u24(2), u24(WIDTH - 1), u24(HEIGHT - 1), u24(100)].concat();
    let frame = [place, vec![0], still[12..].to_vec()].concat();
    riff(&[chunk(b"VP8X", &canvas), chunk(b"ANIM", &[9, 9, 9, 255, 0, 0]), chunk(b"ANMF", &frame)])
}

#[test]
fn lossless_pixels_come_back_without_their_alpha() {
    let rgb = picture(Pixels::Rgb);
    let opaque = decode(&lossless(&rgb, WIDTH, HEIGHT, Pixels::Rgb)).unwrap();
    assert_eq!((opaque.width, opaque.height), (WIDTH, HEIGHT));
    assert_eq!(opaque.data, rgb);
    let with_alpha = decode(&lossless(&picture(Pixels::Rgba), WIDTH, HEIGHT, Pixels::Rgba)).unwrap();
    assert_eq!(with_alpha.data, rgb);
}

#[test]
fn a_first_frame_smaller_than_the_canvas_stands_on_black() {
    let still = lossless(&picture(Pixels::Rgba), WIDTH, HEIGHT, Pixels::Rgba);
    let image = decode(&animation(&still)).unwrap();
    assert_eq!((image.width, image.height), (30, 20));
    let rgb = picture(Pixels::Rgb);
    for (y, row) in image.data.chunks_exact(30 * 3).enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let is_inside = (2..2 + WIDTH).contains(&x) && (4..4 + HEIGHT).contains(&y);
            let at = if is_inside { ((y - 4) * WIDTH + x - 2) * 3 } else { 0 };
            let expected = if is_inside { &rgb[at..at + 3] } else { &[0; 3][..] };
            assert_eq!(pixel, expected, "at ({x}, {y})");
        }
    }
}

#[test]
fn recompressing_is_lossy_and_keeps_alpha() {
    for layout in [Pixels::Rgb, Pixels::Rgba] {
        let bytes = lossless(&picture(layout), WIDTH, HEIGHT, layout);
        let again = recompress(&bytes, &ImageLimits::default()).unwrap();
        assert_eq!(again, lossy(layout));
        assert_eq!(again.windows(4).any(|name| name == b"ALPH"), layout == Pixels::Rgba);

        let mut out = RgbImage { width: 1, height: 1, data: vec![1, 2, 3] };
        recompress_decode_rgb(&bytes, &ImageLimits::default(), &mut out).unwrap();
        assert_eq!(out, decode(&again).unwrap());
        assert_ne!(out.data, picture(Pixels::Rgb));
    }
}

#[test]
fn truncated_at_any_byte_is_refused() {
    let still = lossless(&picture(Pixels::Rgba), WIDTH, HEIGHT, Pixels::Rgba);
    for bytes in [lossy(Pixels::Rgb), lossy(Pixels::Rgba), animation(&still)] {
        for length in 1..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
            assert!(recompress(&bytes[..length], &ImageLimits::default()).is_err());
        }
        let cut = decode(&bytes[..bytes.len() - 1]);
        assert!(matches!(cut, Err(DecodeError::Truncated { .. })), "{cut:?}");
        assert!(decode(&[&bytes[..], b"trailing"].concat()).is_ok());
    }
    assert_eq!(decode(&[]), Err(DecodeError::Empty));
}

#[test]
fn refused_input_leaves_nothing_behind() {
    let mut out = decode(&lossy(Pixels::Rgb)).unwrap();
    let limits = ImageLimits { max_side: WIDTH - 1, ..ImageLimits::default() };
    let error = decode_rgb(&lossy(Pixels::Rgb), &limits, &mut out).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { width: 21, height: 14, .. }), "{error}");
    assert_eq!(out, RgbImage::default());

    let bare_stream = &lossy(Pixels::Rgb)[20..];
    assert!(matches!(decode(bare_stream), Err(DecodeError::Corrupt { .. })));
    out = decode(&lossy(Pixels::Rgb)).unwrap();
    assert!(recompress_decode_rgb(bare_stream, &ImageLimits::default(), &mut out).is_err());
    assert_eq!(out, RgbImage::default());
}
