//! JPEG as Pillow and OpenCV read and write it: libjpeg-turbo, accurate integer DCT, fancy upsampling.
//!
//! Decoding equals Pillow's `Image.open(..).convert("RGB")` on every pixel, and refuses what Pillow refuses:
//! truncated data are an error, any other warning of libjpeg passes. Orientation in EXIF is not applied.
//!
//! One difference is meant: an image of more than 100 scans is refused, as browsers do. Pillow has no such limit,
//! and passes over the whole image again for every ten bytes that a scan can be as short as.

use std::ffi::CStr;
use std::ffi::{c_char, c_int, c_uchar};
use std::ptr::{self, NonNull};

// Only linked: the shim calls the libjpeg that lies in the same library.
use turbojpeg_sys as _;

use crate::decode::jpeg_header::JpegHeader;
use crate::decode::{ImageLimits, Region, RgbImage, reserve};
use crate::error::DecodeError;
use crate::jpeg_round_trip::JpegRoundTrip;

const FORMAT: &str = "JPEG";

/// The largest side that libjpeg writes, `JPEG_MAX_DIMENSION`.
const MAX_ENCODED_SIDE: usize = 65_500;

/// About what the shim allocates for a codec without buffers.
const CODEC_BYTES: usize = 4096;

/// libjpeg's own quality.
const DEFAULT_QUALITY: c_int = -1;

/// The same, which is Pillow's as well.
const RECOMPRESSED_QUALITY: u8 = 75;

/// A JPEG decoder and encoder with its buffers; one per thread, kept as long as images come.
///
/// ```
/// use dfresearch_core::decode::{ImageLimits, JpegCodec, RgbImage};
///
/// let mut codec = JpegCodec::new();
/// let encoded = codec.encode_rgb(&[200; 32 * 16 * 3], 32, 16, 90)?.to_vec();
/// let mut image = RgbImage::default();
/// codec.decode_rgb(&encoded, &ImageLimits::default(), &mut image)?;
/// assert_eq!((image.width, image.height, image.data[0]), (32, 16, 200));
/// # Ok::<(), dfresearch_core::DecodeError>(())
/// ```
#[derive(Debug, Default)]
pub struct JpegCodec {
    handle: Option<Handle>,
    round_trip: JpegRoundTrip,
}

impl JpegCodec {
    /// A codec without buffers; they come with the first image.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes to RGB; `out` gets the image's size and pixels, and keeps its memory from call to call.
    ///
    /// # Errors
    /// A [`DecodeError`] where Pillow refuses the file or the size is over the limits; `out` is then empty.
    pub fn decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        self.fill_rgb(bytes, limits, out, dfresearch_jpeg_decode_rgb)
    }

    /// Decodes what [`Self::recompress`] would write, without the detour over its bytes.
    ///
    /// # Errors
    /// As [`Self::decode_rgb`] and [`Self::recompress`]; `out` is then empty.
    pub fn recompress_decode_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        let whole = |(height, width)| Region { top: 0, left: 0, height, width };
        self.recompress_decode_region(bytes, limits, whole, out)
    }

    /// [`Self::recompress_decode_rgb`] for who looks at a part of the image only: `wanted` tells which, given the size
    /// `(height, width)`. `out` gets the whole image's size; its pixels outside of the part are of no use.
    ///
    /// # Errors
    /// As [`Self::recompress_decode_rgb`].
    pub fn recompress_decode_region(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        wanted: impl FnOnce((usize, usize)) -> Region,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        (out.width, out.height) = (0, 0);
        out.data.clear();
        let JpegHeader { width, height, components, .. } = JpegHeader::read(bytes, limits)?;
        let is_ours =
            components != 4 && width.max(height) <= MAX_ENCODED_SIDE && JpegRoundTrip::applies_to(width);
        if !is_ours {
            return self.recompress_decode_rgb_by_libjpeg(bytes, limits, out);
        }
        self.decode_rgb(bytes, limits, out)?;
        // Grey comes out of the steps for colour as it came in: its chrominance is zero.
        let region = wanted((height, width));
        let done = self.round_trip.run(&mut out.data, width, height, RECOMPRESSED_QUALITY, region);
        if done.is_err() {
            (out.width, out.height) = (0, 0);
            out.data.clear();
        }
        done.map(|_| ())
    }

    /// [`Self::recompress_decode_rgb`] by libjpeg-turbo's own steps: where there is nothing faster, and to compare with.
    ///
    /// # Errors
    /// As [`Self::recompress_decode_rgb`].
    pub fn recompress_decode_rgb_by_libjpeg(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
    ) -> Result<(), DecodeError> {
        self.fill_rgb(bytes, limits, out, dfresearch_jpeg_recompress_decode_rgb)
    }

    /// Saves a JPEG again as Pillow does with its defaults, byte for byte: quality 75, 4:2:0, its own colour
    /// components, the last comment kept, EXIF and colour profile dropped.
    ///
    /// # Errors
    /// As [`Self::decode_rgb`], and sides over 65,500 pixels.
    pub fn recompress(&mut self, bytes: &[u8], limits: &ImageLimits) -> Result<Vec<u8>, DecodeError> {
        let header = JpegHeader::read(bytes, limits)?;
        let mut image = Image {
            comment: header.comment.as_ptr(),
            comment_length: header.comment.len(),
            ..Image::encoded(bytes, &header)
        };
        let handle = self.handle()?;
        handle.run(dfresearch_jpeg_recompress, &mut image)?;
        Ok(handle.output().to_vec())
    }

    /// Encodes RGB as Pillow and OpenCV do: 4:2:0, the standard Huffman tables, `quality` from 1 to 100.
    ///
    /// # Errors
    /// A side that is zero or over 65,500 pixels, or pixels that are not `height * width * 3` bytes.
    pub fn encode_rgb(
        &mut self,
        rgb: &[u8],
        width: usize,
        height: usize,
        quality: u8,
    ) -> Result<&[u8], DecodeError> {
        let mut image = Image { rows: rgb.as_ptr(), ..Image::pixels(rgb.len(), width, height, quality)? };
        let handle = self.handle()?;
        handle.run(dfresearch_jpeg_encode, &mut image)?;
        Ok(handle.output())
    }

    /// Encodes and decodes in place: the artefacts of a JPEG of this quality, as after [`Self::encode_rgb`] and
    /// [`Self::decode_rgb`].
    ///
    /// # Errors
    /// As [`Self::encode_rgb`].
    pub fn round_trip_rgb(
        &mut self,
        rgb: &mut [u8],
        width: usize,
        height: usize,
        quality: u8,
    ) -> Result<(), DecodeError> {
        Image::pixels(rgb.len(), width, height, quality)?;
        let whole = Region { top: 0, left: 0, height, width };
        if self.round_trip.run(rgb, width, height, quality, whole)? {
            return Ok(());
        }
        self.round_trip_rgb_by_libjpeg(rgb, width, height, quality)
    }

    /// [`Self::round_trip_rgb`] by libjpeg-turbo's own steps: where there is nothing faster, and to compare with.
    ///
    /// # Errors
    /// As [`Self::encode_rgb`].
    pub fn round_trip_rgb_by_libjpeg(
        &mut self,
        rgb: &mut [u8],
        width: usize,
        height: usize,
        quality: u8,
    ) -> Result<(), DecodeError> {
        let mut image = Image { rgb: rgb.as_mut_ptr(), ..Image::pixels(rgb.len(), width, height, quality)? };
        self.handle()?.run(dfresearch_jpeg_round_trip_rgb, &mut image)
    }

    fn fill_rgb(
        &mut self,
        bytes: &[u8],
        limits: &ImageLimits,
        out: &mut RgbImage,
        job: Job,
    ) -> Result<(), DecodeError> {
        (out.width, out.height) = (0, 0);
        out.data.clear();
        let header = JpegHeader::read(bytes, limits)?;
        let length = header.width * header.height * 3;
        reserve(&mut out.data, length)?;
        let mut image = Image { rgb: out.data.as_mut_ptr(), ..Image::encoded(bytes, &header) };
        self.handle()?.run(job, &mut image)?;
        // SAFETY: `length` bytes are reserved, and a job that succeeds has written every row of the image.
        #[allow(unsafe_code, reason = "rows are written by C; filling them with zeros first costs a pass")]
        unsafe {
            out.data.set_len(length);
        }
        (out.width, out.height) = (header.width, header.height);
        Ok(())
    }

    fn handle(&mut self) -> Result<&mut Handle, DecodeError> {
        match &mut self.handle {
            Some(handle) => Ok(handle),
            empty => Ok(empty.insert(Handle::create()?)),
        }
    }
}

fn corrupt(reason: String) -> DecodeError {
    DecodeError::Corrupt { format: FORMAT, reason }
}

/// `struct image` of the shim.
#[repr(C)]
struct Image {
    bytes: *const c_uchar,
    length: usize,
    comment: *const c_uchar,
    comment_length: usize,
    rows: *const c_uchar,
    rgb: *mut c_uchar,
    width: u32,
    height: u32,
    components: c_int,
    quality: c_int,
}

impl Image {
    fn encoded(bytes: &[u8], header: &JpegHeader<'_>) -> Self {
        Self {
            bytes: bytes.as_ptr(),
            length: bytes.len(),
            comment: ptr::null(),
            comment_length: 0,
            rows: ptr::null(),
            rgb: ptr::null_mut(),
            // 16 bits each in the header.
            width: header.width as u32,
            height: header.height as u32,
            components: header.components as c_int,
            quality: DEFAULT_QUALITY,
        }
    }

    /// Bytes of the pixels in the image's own components.
    fn pixel_bytes(&self) -> usize {
        self.width as usize * self.height as usize * self.components.unsigned_abs() as usize
    }

    fn pixels(length: usize, width: usize, height: usize, quality: u8) -> Result<Self, DecodeError> {
        if width.min(height) == 0 || width.max(height) > MAX_ENCODED_SIDE {
            return Err(corrupt(format!(
                "{width}x{height} pixels cannot be encoded: sides are 1 to {MAX_ENCODED_SIDE}"
            )));
        }
        if length != width * height * 3 {
            return Err(corrupt(format!("{width}x{height} RGB pixels in {length} bytes")));
        }
        Ok(Self {
            bytes: ptr::null(),
            length: 0,
            comment: ptr::null(),
            comment_length: 0,
            rows: ptr::null(),
            rgb: ptr::null_mut(),
            width: width as u32,
            height: height as u32,
            components: 3,
            quality: c_int::from(quality),
        })
    }
}

/// `struct codec` of the shim.
#[repr(C)]
struct Codec {
    _opaque: [u8; 0],
}

type Job = unsafe extern "C" fn(*mut Codec, *mut Image) -> c_int;

const STATUS_DONE: c_int = 0;
const STATUS_TRUNCATED: c_int = 1;
const STATUS_NO_MEMORY: c_int = 3;
const STATUS_UNSUPPORTED: c_int = 4;

#[allow(unsafe_code, reason = "the shim's functions; each is called in one place below")]
unsafe extern "C" {
    fn dfresearch_jpeg_create() -> *mut Codec;
    fn dfresearch_jpeg_destroy(codec: *mut Codec);
    fn dfresearch_jpeg_message(codec: *const Codec) -> *const c_char;
    fn dfresearch_jpeg_output(codec: *const Codec, length: *mut usize) -> *const c_uchar;
    fn dfresearch_jpeg_decode_rgb(codec: *mut Codec, image: *mut Image) -> c_int;
    fn dfresearch_jpeg_encode(codec: *mut Codec, image: *mut Image) -> c_int;
    fn dfresearch_jpeg_recompress(codec: *mut Codec, image: *mut Image) -> c_int;
    fn dfresearch_jpeg_recompress_decode_rgb(codec: *mut Codec, image: *mut Image) -> c_int;
    fn dfresearch_jpeg_round_trip_rgb(codec: *mut Codec, image: *mut Image) -> c_int;
}

/// Owns the shim's codec.
#[derive(Debug)]
struct Handle(NonNull<Codec>);

// SAFETY: the codec is plain memory that nothing else points to; libjpeg-turbo keeps no state of a thread in it.
#[allow(unsafe_code, reason = "a raw pointer is not Send by itself")]
unsafe impl Send for Handle {}

#[allow(unsafe_code, reason = "the border to C")]
impl Handle {
    fn create() -> Result<Self, DecodeError> {
        // SAFETY: no preconditions; null is checked.
        NonNull::new(unsafe { dfresearch_jpeg_create() })
            .map(Self)
            .ok_or(DecodeError::OutOfMemory { bytes: CODEC_BYTES })
    }

    /// The image's pointers must be valid for what `job` reads and writes, as its size and components say.
    fn run(&mut self, job: Job, image: &mut Image) -> Result<(), DecodeError> {
        // SAFETY: the codec is live and exclusively borrowed; the callers above fill the image from slices whose
        // lengths they have checked against its size. The job neither keeps the pointers nor unwinds.
        let status = unsafe { job(self.0.as_ptr(), image) };
        if status == STATUS_DONE {
            return Ok(());
        }
        // SAFETY: the message is a terminated string inside of the live codec.
        let message = unsafe { CStr::from_ptr(dfresearch_jpeg_message(self.0.as_ptr())) };
        let reason = message.to_string_lossy().into_owned();
        Err(match status {
            STATUS_TRUNCATED => DecodeError::Truncated { format: FORMAT, reason },
            STATUS_NO_MEMORY => DecodeError::OutOfMemory { bytes: image.pixel_bytes() },
            STATUS_UNSUPPORTED => DecodeError::Unsupported { format: FORMAT, reason },
            _ => corrupt(reason),
        })
    }

    /// The bytes that the last encoding job wrote.
    fn output(&self) -> &[u8] {
        let mut length = 0;
        // SAFETY: called after a successful encoding: the output is non-null, its first `length` bytes are
        // written, and it moves only in a later job, which needs `&mut self`.
        unsafe {
            let output = dfresearch_jpeg_output(self.0.as_ptr(), &mut length);
            std::slice::from_raw_parts(output, length)
        }
    }
}

#[allow(unsafe_code, reason = "the border to C")]
impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created by `dfresearch_jpeg_create` and destroyed once.
        unsafe { dfresearch_jpeg_destroy(self.0.as_ptr()) }
    }
}

#[cfg(test)]
#[path = "jpeg_tests.rs"]
mod tests;
