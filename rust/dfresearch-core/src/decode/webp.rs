//! WebP as Pillow reads and writes it, through libwebp: the first frame on its canvas, alpha dropped.

use std::mem::MaybeUninit;

use libwebp_sys as libwebp;

use crate::decode::{ImageLimits, RgbImage, reserve};
use crate::error::DecodeError;

const FORMAT: &str = "WebP";

/// What Pillow saves WebP with: lossy, quality 80, method 4, alpha kept without loss.
const PILLOW_QUALITY: f32 = 80.0;
const PILLOW_METHOD: i32 = 4;
const PILLOW_ALPHA_QUALITY: i32 = 100;

/// Decodes the first frame to RGB; `out` gets the canvas's size and pixels, and keeps its memory.
///
/// Equal to Pillow's `Image.open(..).convert("RGB")`: alpha is dropped, and a canvas that the first frame does not
/// cover is black.
///
/// # Errors
/// A [`DecodeError`] where Pillow refuses the file or the size is over the limits; `out` is then empty.
pub fn decode_rgb(bytes: &[u8], limits: &ImageLimits, out: &mut RgbImage) -> Result<(), DecodeError> {
    (out.width, out.height) = (0, 0);
    out.data.clear();
    let header = Header::read(bytes, limits)?;
    decode_frame(bytes, &header, Pixels::Rgb, &mut out.data)?;
    (out.width, out.height) = (header.width, header.height);
    Ok(())
}

/// Saves the first frame again as Pillow does with its defaults: lossy, quality 80, method 4, alpha kept.
///
/// # Errors
/// As [`decode_rgb`], and sides over 16,383 pixels, which only an animation's canvas can have.
pub fn recompress(bytes: &[u8], limits: &ImageLimits) -> Result<Vec<u8>, DecodeError> {
    let mut pixels = Vec::new();
    Ok(encode_again(bytes, limits, &mut pixels)?.bytes().to_vec())
}

/// Decodes what [`recompress`] would write.
///
/// # Errors
/// As [`recompress`]; `out` is then empty.
pub fn recompress_decode_rgb(
    bytes: &[u8],
    limits: &ImageLimits,
    out: &mut RgbImage,
) -> Result<(), DecodeError> {
    (out.width, out.height) = (0, 0);
    let encoded = encode_again(bytes, limits, &mut out.data);
    out.data.clear();
    decode_rgb(encoded?.bytes(), limits, out)
}

fn encode_again(bytes: &[u8], limits: &ImageLimits, pixels: &mut Vec<u8>) -> Result<Encoded, DecodeError> {
    let header = Header::read(bytes, limits)?;
    let layout = if header.has_alpha { Pixels::Rgba } else { Pixels::Rgb };
    decode_frame(bytes, &header, layout, pixels)?;
    encode(pixels, header.width, header.height, layout)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pixels {
    Rgb,
    Rgba,
}

impl Pixels {
    fn bytes(self) -> usize {
        match self {
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    fn mode(self) -> libwebp::WEBP_CSP_MODE {
        match self {
            Self::Rgb => libwebp::WEBP_CSP_MODE::MODE_RGB,
            Self::Rgba => libwebp::WEBP_CSP_MODE::MODE_RGBA,
        }
    }
}

struct Header {
    width: usize,
    height: usize,
    has_alpha: bool,
}

impl Header {
    fn read(bytes: &[u8], limits: &ImageLimits) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        // libwebp itself would also take a bare VP8 stream.
        let is_webp = bytes.starts_with(b"RIFF")
            && bytes.get(8..12) == Some(b"WEBP")
            && matches!(bytes.get(12..16), Some(b"VP8 " | b"VP8L" | b"VP8X"));
        if !is_webp {
            return Err(refused(bytes, "it does not begin with RIFF....WEBPVP8"));
        }
        let mut features = MaybeUninit::uninit();
        // SAFETY: the pointer and the length are those of a slice; the call initialises `features` on success.
        #[allow(unsafe_code, reason = "libwebp is C")]
        let features = unsafe {
            match libwebp::WebPGetFeatures(bytes.as_ptr(), bytes.len(), features.as_mut_ptr()) {
                libwebp::VP8StatusCode::VP8_STATUS_OK => features.assume_init(),
                _ => return Err(refused(bytes, "its header cannot be read")),
            }
        };
        let (width, height) =
            (features.width.unsigned_abs() as usize, features.height.unsigned_abs() as usize);
        limits.check(width, height)?;
        Ok(Self { width, height, has_alpha: features.has_alpha != 0 })
    }
}

/// The error of content that libwebp does not take: truncated when the container says that more was to come.
fn refused(bytes: &[u8], reason: &str) -> DecodeError {
    let announced = bytes
        .get(4..8)
        .and_then(|size| size.try_into().ok())
        .map_or(u64::MAX, |size| u64::from(u32::from_le_bytes(size)) + 8);
    if bytes.starts_with(b"RIFF") && (bytes.len() as u64) < announced {
        let reason = format!("{} of {announced} bytes are there", bytes.len());
        return DecodeError::Truncated { format: FORMAT, reason };
    }
    DecodeError::Corrupt { format: FORMAT, reason: reason.to_owned() }
}

/// libwebp counts in 32 bits with a sign; limits far beyond the default ones are needed to get here.
fn too_wide(bytes: usize) -> DecodeError {
    DecodeError::Unsupported { format: FORMAT, reason: format!("rows of {bytes} bytes") }
}

/// The parsed container; libwebp refuses to make one of an incomplete file, as Pillow does.
struct Demuxer(*mut libwebp::WebPDemuxer);

#[allow(unsafe_code, reason = "libwebp is C")]
impl Drop for Demuxer {
    fn drop(&mut self) {
        // SAFETY: made by WebPDemuxInternal and deleted once; null is allowed.
        unsafe { libwebp::WebPDemuxDelete(self.0) }
    }
}

/// Decodes the first frame into its place on the canvas, `[height, width, channels]`.
#[allow(unsafe_code, reason = "libwebp is C")]
fn decode_frame(bytes: &[u8], header: &Header, layout: Pixels, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let data = libwebp::WebPData { bytes: bytes.as_ptr(), size: bytes.len() };
    // SAFETY: `data` describes a live slice that outlives the demuxer; a null state is allowed.
    let demuxer = Demuxer(unsafe {
        libwebp::WebPDemuxInternal(&data, 0, std::ptr::null_mut(), libwebp::WEBP_DEMUX_ABI_VERSION as _)
    });
    let mut frame = MaybeUninit::zeroed();
    // SAFETY: the demuxer is checked; the call initialises the iterator, which is plain data, on success.
    let frame: libwebp::WebPIterator = unsafe {
        if demuxer.0.is_null() || libwebp::WebPDemuxGetFrame(demuxer.0, 1, frame.as_mut_ptr()) == 0 {
            return Err(refused(bytes, "its chunks cannot be read"));
        }
        frame.assume_init()
    };
    // SAFETY: releases nothing but the iterator's own bookkeeping; its fragment points into `bytes`.
    let fragment = unsafe {
        let mut released = frame;
        libwebp::WebPDemuxReleaseIterator(&mut released);
        std::slice::from_raw_parts(frame.fragment.bytes, frame.fragment.size)
    };
    let [left, top, width, height] = [frame.x_offset, frame.y_offset, frame.width, frame.height]
        .map(|pixels| usize::try_from(pixels).unwrap_or(usize::MAX));
    let is_inside = left.checked_add(width).is_some_and(|right| right <= header.width)
        && top.checked_add(height).is_some_and(|bottom| bottom <= header.height);
    if !is_inside || width == 0 || height == 0 {
        return Err(refused(bytes, "its first frame lies outside of the canvas"));
    }

    let stride = header.width * layout.bytes();
    let length = stride * header.height;
    out.clear();
    reserve(out, length)?;
    let canvas = &mut out.spare_capacity_mut()[..length];
    if (width, height) != (header.width, header.height) {
        canvas.fill(MaybeUninit::new(0));
    }
    let target = &mut canvas[top * stride + left * layout.bytes()..];
    // SAFETY: WebPInitDecoderConfig initialises the configuration; the output buffer is the rest of the canvas from
    // the frame's first pixel on, libwebp checks its size against the frame, writes rows `stride` apart, and holds
    // the buffer for this call alone.
    let status = unsafe {
        let mut config = MaybeUninit::uninit();
        if !libwebp::WebPInitDecoderConfig(config.as_mut_ptr()) {
            return Err(refused(bytes, "libwebp is of another version"));
        }
        let mut config = config.assume_init();
        config.output.colorspace = layout.mode();
        config.output.is_external_memory = 1;
        config.output.u.RGBA = libwebp::WebPRGBABuffer {
            rgba: target.as_mut_ptr().cast(),
            stride: i32::try_from(stride).map_err(|_| too_wide(stride))?,
            size: target.len(),
        };
        libwebp::WebPDecode(fragment.as_ptr(), fragment.len(), &mut config)
    };
    match status {
        libwebp::VP8StatusCode::VP8_STATUS_OK => {
            // SAFETY: the frame's pixels are decoded and all others zero: every byte of the canvas is written.
            unsafe { out.set_len(length) };
            Ok(())
        }
        libwebp::VP8StatusCode::VP8_STATUS_OUT_OF_MEMORY => Err(DecodeError::OutOfMemory { bytes: length }),
        libwebp::VP8StatusCode::VP8_STATUS_NOT_ENOUGH_DATA | libwebp::VP8StatusCode::VP8_STATUS_SUSPENDED => {
            Err(DecodeError::Truncated {
                format: FORMAT,
                reason: "the data end before the last row".to_owned(),
            })
        }
        _ => Err(refused(bytes, "its first frame cannot be decoded")),
    }
}

/// Encoded bytes in libwebp's own memory.
struct Encoded(libwebp::WebPMemoryWriter);

#[allow(unsafe_code, reason = "libwebp is C")]
impl Encoded {
    fn bytes(&self) -> &[u8] {
        // SAFETY: after a successful encoding `mem` is non-null and holds `size` written bytes.
        unsafe { std::slice::from_raw_parts(self.0.mem, self.0.size) }
    }
}

#[allow(unsafe_code, reason = "libwebp is C")]
impl Drop for Encoded {
    fn drop(&mut self) {
        // SAFETY: initialised by WebPMemoryWriterInit and cleared once.
        unsafe { libwebp::WebPMemoryWriterClear(&mut self.0) }
    }
}

/// Frees a picture's planes on every way out.
struct Picture(libwebp::WebPPicture);

#[allow(unsafe_code, reason = "libwebp is C")]
impl Drop for Picture {
    fn drop(&mut self) {
        // SAFETY: initialised by WebPPictureInit and freed once.
        unsafe { libwebp::WebPPictureFree(&mut self.0) }
    }
}

#[allow(unsafe_code, reason = "libwebp is C")]
fn encode(pixels: &[u8], width: usize, height: usize, layout: Pixels) -> Result<Encoded, DecodeError> {
    let failed = |reason: String| DecodeError::Unsupported { format: FORMAT, reason };
    let version = |()| failed("libwebp is of another version".to_owned());
    let mut config = libwebp::WebPConfig::new().map_err(version)?;
    config.quality = PILLOW_QUALITY;
    config.method = PILLOW_METHOD;
    config.alpha_quality = PILLOW_ALPHA_QUALITY;

    let mut picture = Picture(libwebp::WebPPicture::new().map_err(version)?);
    let mut writer = MaybeUninit::uninit();
    // SAFETY: WebPMemoryWriterInit initialises the writer.
    let mut encoded = Encoded(unsafe {
        libwebp::WebPMemoryWriterInit(writer.as_mut_ptr());
        writer.assume_init()
    });
    let picture = &mut picture.0;
    picture.use_argb = 1;
    picture.width = i32::try_from(width).map_err(|_| too_wide(width))?;
    picture.height = i32::try_from(height).map_err(|_| too_wide(height))?;
    picture.writer = Some(libwebp::WebPMemoryWrite);
    picture.custom_ptr = (&raw mut encoded.0).cast();
    let stride = i32::try_from(width * layout.bytes()).map_err(|_| too_wide(width * layout.bytes()))?;
    // SAFETY: `pixels` holds `height` rows of `stride` bytes; picture, configuration and writer are initialised and
    // outlive the calls.
    let is_encoded = unsafe {
        let is_imported = match layout {
            Pixels::Rgb => libwebp::WebPPictureImportRGB(picture, pixels.as_ptr(), stride),
            Pixels::Rgba => libwebp::WebPPictureImportRGBA(picture, pixels.as_ptr(), stride),
        };
        is_imported != 0 && libwebp::WebPEncode(&config, picture) != 0
    };
    if !is_encoded && is_memory_error(picture.error_code) {
        return Err(DecodeError::OutOfMemory { bytes: pixels.len() });
    }
    if !is_encoded {
        return Err(failed(format!("{width}x{height} pixels cannot be encoded: {:?}", picture.error_code)));
    }
    Ok(encoded)
}

/// A writer to memory fails where there is no more of it.
fn is_memory_error(code: libwebp::WebPEncodingError) -> bool {
    use libwebp::WebPEncodingError::{
        VP8_ENC_ERROR_BAD_WRITE, VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY, VP8_ENC_ERROR_OUT_OF_MEMORY,
    };
    let memory_errors =
        [VP8_ENC_ERROR_OUT_OF_MEMORY, VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY, VP8_ENC_ERROR_BAD_WRITE];
    memory_errors.contains(&code)
}

#[cfg(test)]
#[path = "webp_tests.rs"]
mod tests;
