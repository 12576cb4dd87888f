//! Decoded pictures to RGB, on every pixel as FFmpeg's `scale` filter under decord.

use std::ffi::{CStr, c_int};
use std::ptr;

use ffmpeg_next::error::ENOMEM;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::Flags;
use ffmpeg_next::{Error as FfmpegError, color, ffi, frame};

use super::FrameView;

/// No offset.
const BRIGHTNESS: c_int = 0;
/// 1 in 16.16 fixed point, swscale's neutral value for contrast and saturation.
const NEUTRAL: c_int = 1 << 16;
/// Chroma of 4:2:0 lies between two rows (in 1/256 of a row), as the `scale` filter says of this one pixel format.
const CHROMA_BETWEEN_ROWS: i64 = 128;
/// Converters for frames of this many kinds are kept; clips of a data set are of few.
const KEPT_CONVERSIONS: usize = 8;

/// What one conversion is made for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    format: Pixel,
    width: u32,
    height: u32,
    target: (u32, u32),
    space: color::Space,
    range: color::Range,
}

/// One of swscale's contexts.
struct Conversion {
    kind: Kind,
    context: *mut ffi::SwsContext,
}

// SAFETY: a context is a heap allocation without ties to a thread, and this is the only pointer to it.
#[allow(unsafe_code)]
unsafe impl Send for Conversion {}

impl Drop for Conversion {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: made by `sws_alloc_context`, and freed only here.
        unsafe { ffi::sws_freeContext(self.context) };
    }
}

/// Converts frames; keeps conversions and the frame that they write to.
#[derive(Default)]
pub struct Converter {
    /// The latest is the last.
    conversions: Vec<Conversion>,
    rgb: Option<frame::Video>,
}

impl Converter {
    /// A frame as RGB24 of `target` width and height.
    ///
    /// # Errors
    /// FFmpeg's, if the format cannot be converted or there is no memory.
    pub fn convert(
        &mut self,
        picture: &frame::Video,
        target: (u32, u32),
    ) -> Result<&frame::Video, FfmpegError> {
        let kind = Kind {
            format: picture.format(),
            width: picture.width(),
            height: picture.height(),
            target,
            space: picture.color_space(),
            range: picture.color_range(),
        };
        let conversion = self.conversion(kind)?;
        let reusable = self.rgb.take().filter(|rgb| (rgb.width(), rgb.height()) == target);
        // Rows are aligned as the filter's are: swscale's vector code depends on it.
        let mut rgb = reusable.unwrap_or_else(|| frame::Video::new(Pixel::RGB24, target.0, target.1));
        scale(conversion, picture, &mut rgb)?;
        Ok(self.rgb.insert(rgb))
    }

    fn conversion(&mut self, kind: Kind) -> Result<*mut ffi::SwsContext, FfmpegError> {
        match self.conversions.iter().position(|known| known.kind == kind) {
            Some(position) => self.conversions[position..].rotate_left(1),
            None => {
                let made = Conversion::new(kind)?;
                if self.conversions.len() == KEPT_CONVERSIONS {
                    self.conversions.remove(0);
                }
                self.conversions.push(made);
            }
        }
        self.conversions.last().map(|known| known.context).ok_or(FfmpegError::Bug)
    }
}

impl Conversion {
    #[allow(unsafe_code)]
    fn new(kind: Kind) -> Result<Self, FfmpegError> {
        // SAFETY: the context is fresh, and freed by `Drop` whatever follows.
        let context = unsafe { ffi::sws_alloc_context() };
        if context.is_null() {
            return Err(FfmpegError::Other { errno: ENOMEM });
        }
        let conversion = Self { kind, context };
        let source: ffi::AVPixelFormat = kind.format.into();
        let target: ffi::AVPixelFormat = Pixel::RGB24.into();
        conversion.set(c"srcw", i64::from(kind.width))?;
        conversion.set(c"srch", i64::from(kind.height))?;
        conversion.set(c"src_format", source as i64)?;
        conversion.set(c"dstw", i64::from(kind.target.0))?;
        conversion.set(c"dsth", i64::from(kind.target.1))?;
        conversion.set(c"dst_format", target as i64)?;
        conversion.set(c"sws_flags", i64::from(Flags::BILINEAR.bits()))?;
        if kind.format == Pixel::YUV420P {
            conversion.set(c"src_v_chr_pos", CHROMA_BETWEEN_ROWS)?;
        }
        // SAFETY: the context has all that it needs, and no filters.
        let initialised = unsafe { ffi::sws_init_context(context, ptr::null_mut(), ptr::null_mut()) };
        if initialised < 0 {
            return Err(FfmpegError::from(initialised));
        }
        conversion.set_colours();
        Ok(conversion)
    }

    #[allow(unsafe_code)]
    fn set(&self, name: &CStr, value: i64) -> Result<(), FfmpegError> {
        // SAFETY: the context begins with its class, as options demand, and the name is ended by a zero.
        match unsafe { ffi::av_opt_set_int(self.context.cast(), name.as_ptr(), value, 0) } {
            0 => Ok(()),
            error => Err(FfmpegError::from(error)),
        }
    }

    /// The matrix and the range that the frames name; BT.601 and the format's own range if they name none.
    #[allow(unsafe_code)]
    fn set_colours(&self) {
        let mut inverse: *mut c_int = ptr::null_mut();
        let mut forward: *mut c_int = ptr::null_mut();
        let (mut source_range, mut target_range) = (0, 0);
        let (mut brightness, mut contrast, mut saturation) = (BRIGHTNESS, NEUTRAL, NEUTRAL);
        // SAFETY: the context is initialised, all pointers are to live variables, and tables of coefficients are
        // static. A refusal (no colours to set between two RGB formats) leaves the context as it was.
        unsafe {
            let known = ffi::sws_getColorspaceDetails(
                self.context,
                &mut inverse,
                &mut source_range,
                &mut forward,
                &mut target_range,
                &mut brightness,
                &mut contrast,
                &mut saturation,
            );
            if known < 0 {
                return;
            }
            let table = ffi::sws_getCoefficients(matrix(self.kind.space));
            match self.kind.range {
                color::Range::JPEG => source_range = 1,
                color::Range::MPEG => source_range = 0,
                color::Range::Unspecified => {}
            }
            ffi::sws_setColorspaceDetails(
                self.context,
                table,
                source_range,
                table,
                target_range,
                brightness,
                contrast,
                saturation,
            );
        }
    }
}

/// swscale's number of a matrix: FFmpeg's own where swscale has it, else that of BT.601.
fn matrix(space: color::Space) -> c_int {
    /// `AVCOL_SPC_YCGCO`, which swscale has no table for.
    const YCGCO: c_int = 8;
    /// `AVCOL_SPC_BT2020_CL`, the last one.
    const LAST: c_int = 10;
    let space: ffi::AVColorSpace = space.into();
    let number = space as c_int;
    if (1..=LAST).contains(&number) && number != YCGCO {
        number
    } else {
        ffi::AVColorSpace::AVCOL_SPC_BT470BG as c_int
    }
}

#[allow(unsafe_code)]
fn scale(
    context: *mut ffi::SwsContext,
    picture: &frame::Video,
    rgb: &mut frame::Video,
) -> Result<(), FfmpegError> {
    // SAFETY: the context was made for frames of this format and these sizes; both frames are alive and allocated.
    let rows = unsafe {
        let (source, target) = (&*picture.as_ptr(), &mut *rgb.as_mut_ptr());
        if target.data[0].is_null() {
            return Err(FfmpegError::Other { errno: ENOMEM });
        }
        ffi::sws_scale(
            context,
            source.data.as_ptr().cast(),
            source.linesize.as_ptr(),
            0,
            source.height,
            target.data.as_ptr(),
            target.linesize.as_ptr(),
        )
    };
    if rows < 0 { Err(FfmpegError::from(rows)) } else { Ok(()) }
}

/// The pixels of an RGB24 frame without the space between its rows.
///
/// # Errors
/// Out of memory.
pub fn pack<'a>(rgb: &'a frame::Video, packed: &'a mut Vec<u8>) -> Result<FrameView<'a>, FfmpegError> {
    let (width, height, stride) = (rgb.width() as usize, rgb.height() as usize, rgb.stride(0));
    let data = rgb.data(0);
    if stride == width * 3 {
        return Ok(FrameView { width, height, data: &data[..width * 3 * height] });
    }
    packed.clear();
    packed.try_reserve(width * 3 * height).map_err(|_| FfmpegError::Other { errno: ENOMEM })?;
    for row in data.chunks(stride).take(height) {
        packed.extend_from_slice(&row[..width * 3]);
    }
    Ok(FrameView { width, height, data: packed })
}
