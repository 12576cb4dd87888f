//! Pictures turned as their container says, before they become RGB: chroma that is shared by four pixels is
//! interpolated along the rows of the upright picture.

use std::f64::consts::PI;
use std::ptr;
use std::slice;

use ffmpeg_next::packet::side_data::Type as SideDataType;
use ffmpeg_next::{Error as FfmpegError, Stream, ffi, frame};

/// The side of the squares in which pictures are turned, in samples: both sides of one fit the cache.
const BLOCK: usize = 32;

/// By how much pictures are turned clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Rotation {
    /// What decord reads from a stream: its tag `rotate` if there is one, else its display matrix.
    ///
    /// Angles other than quarters are ignored, and so is the mirroring that a matrix may hold as well.
    pub fn of(stream: &Stream<'_>) -> Self {
        let tag = stream.metadata().get("rotate").and_then(leading_number).filter(|&angle| angle != 0.0);
        let angle = tag.or_else(|| matrix_angle(stream)).unwrap_or(0.0);
        match angle.rem_euclid(360.0) as u32 {
            90 => Self::Quarter,
            180 => Self::Half,
            270 => Self::ThreeQuarters,
            _ => Self::None,
        }
    }

    /// Whether a turned picture is as wide as it was high.
    pub fn swaps_sides(self) -> bool {
        matches!(self, Self::Quarter | Self::ThreeQuarters)
    }
}

/// As C's `atof`: as much of the start as makes a number.
fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let end = text.find(|it: char| !(it.is_ascii_digit() || "+-.eE".contains(it))).unwrap_or(text.len());
    (0..=end).rev().find_map(|end| text.get(..end)?.parse().ok())
}

/// The clockwise angle of a display matrix in degrees.
fn matrix_angle(stream: &Stream<'_>) -> Option<f64> {
    let data = stream.side_data().find(|data| data.kind() == SideDataType::DisplayMatrix)?;
    let mut matrix = [0_i32; 9];
    for (number, bytes) in matrix.iter_mut().zip(data.data().as_chunks::<4>().0) {
        *number = i32::from_ne_bytes(*bytes);
    }
    angle(&matrix)
}

/// libavutil's `av_display_rotation_get`, with the sign turned round: clockwise, in degrees.
fn angle(matrix: &[i32; 9]) -> Option<f64> {
    let [a, b, _, c, d, ..] = matrix.map(f64::from);
    let (first, second) = (a.hypot(c), b.hypot(d));
    (first != 0.0 && second != 0.0).then(|| (b / second).atan2(a / first) * 180.0 / PI)
}

/// Turns frames; keeps the frame that they are turned into.
#[derive(Default)]
pub struct Turner {
    upright: Option<frame::Video>,
}

impl Turner {
    /// Whether a picture can be turned sample by sample: not when its chroma is shared along one side alone, nor
    /// when samples are no whole bytes.
    pub fn can_turn(picture: &frame::Video) -> bool {
        descriptor(picture).is_some_and(|descriptor| {
            let unsuitable =
                ffi::AV_PIX_FMT_FLAG_PAL | ffi::AV_PIX_FMT_FLAG_HWACCEL | ffi::AV_PIX_FMT_FLAG_BITSTREAM;
            descriptor.flags & unsuitable as u64 == 0 && descriptor.log2_chroma_w == descriptor.log2_chroma_h
        })
    }

    /// The frame, turned.
    ///
    /// # Errors
    /// FFmpeg's, if there is no memory for the turned picture, or the picture is none that [`Self::can_turn`].
    pub fn turn<'a>(
        &'a mut self,
        picture: &'a frame::Video,
        rotation: Rotation,
    ) -> Result<&'a frame::Video, FfmpegError> {
        if rotation == Rotation::None {
            return Ok(picture);
        }
        let (mut width, mut height) = (picture.width(), picture.height());
        if rotation.swaps_sides() {
            (width, height) = (height, width);
        }
        let reusable = self.upright.take().filter(|upright| {
            (upright.width(), upright.height(), upright.format()) == (width, height, picture.format())
        });
        let mut upright = reusable.unwrap_or_else(|| frame::Video::new(picture.format(), width, height));
        turn_planes(picture, &mut upright, rotation)?;
        upright.set_color_range(picture.color_range());
        upright.set_color_space(picture.color_space());
        Ok(self.upright.insert(upright))
    }
}

#[allow(unsafe_code)]
fn descriptor(picture: &frame::Video) -> Option<&'static ffi::AVPixFmtDescriptor> {
    // SAFETY: descriptors are static, and null for what is no format.
    unsafe { ffi::av_pix_fmt_desc_get(picture.format().into()).as_ref() }
}

/// Bytes from one sample of each plane to the next.
#[allow(unsafe_code)]
fn sample_bytes(descriptor: &ffi::AVPixFmtDescriptor) -> [usize; 4] {
    let mut steps = [0; 4];
    // SAFETY: the array has room for the four planes that FFmpeg fills; the second one may be null.
    unsafe { ffi::av_image_fill_max_pixsteps(steps.as_mut_ptr(), ptr::null_mut(), descriptor) };
    steps.map(|step| usize::try_from(step).unwrap_or(0))
}

/// The rows of a plane, `row_bytes` each; a decoder may have stored them from bottom to top.
#[allow(unsafe_code)]
fn rows(picture: &frame::Video, plane: usize, height: usize, row_bytes: usize) -> Vec<&[u8]> {
    // SAFETY: a decoded frame has a plane of this many rows, each at least this long, at a distance of `linesize`
    // from each other, and keeps them for as long as it is borrowed.
    unsafe {
        let picture = &*picture.as_ptr();
        let (start, stride) = (picture.data[plane], picture.linesize[plane] as isize);
        (0..height as isize).map(|row| slice::from_raw_parts(start.offset(row * stride), row_bytes)).collect()
    }
}

fn turn_planes(
    picture: &frame::Video,
    upright: &mut frame::Video,
    rotation: Rotation,
) -> Result<(), FfmpegError> {
    let descriptor =
        descriptor(picture).filter(|_| Turner::can_turn(picture)).ok_or(FfmpegError::PatchWelcome)?;
    for (plane, bytes) in sample_bytes(descriptor).into_iter().enumerate().take_while(|(_, bytes)| *bytes > 0)
    {
        let shift = if matches!(plane, 1 | 2) { descriptor.log2_chroma_w } else { 0 };
        let side = |pixels: u32| (pixels as usize).div_ceil(1 << shift);
        let (width, height) = (side(picture.width()), side(picture.height()));
        let source = rows(picture, plane, height, width * bytes);
        let stride = upright.stride(plane);
        let target = upright.data_mut(plane);
        if target.len() < stride * if rotation.swaps_sides() { width } else { height } {
            return Err(FfmpegError::Other { errno: ffmpeg_next::error::ENOMEM });
        }
        // Sizes that the compiler knows are copied much faster.
        match bytes {
            1 => turn_rows::<1>(&source, target, stride, rotation),
            2 => turn_rows::<2>(&source, target, stride, rotation),
            3 => turn_rows::<3>(&source, target, stride, rotation),
            4 => turn_rows::<4>(&source, target, stride, rotation),
            6 => turn_rows::<6>(&source, target, stride, rotation),
            8 => turn_rows::<8>(&source, target, stride, rotation),
            _ => return Err(FfmpegError::PatchWelcome),
        }
    }
    Ok(())
}

fn turn_rows<const BYTES: usize>(source: &[&[u8]], target: &mut [u8], stride: usize, rotation: Rotation) {
    let source: Vec<&[[u8; BYTES]]> = source.iter().map(|row| row.as_chunks().0).collect();
    let (height, width) = (source.len(), source.first().map_or(0, |row| row.len()));
    if rotation == Rotation::Half {
        for (row, target) in source.iter().rev().zip(target.chunks_mut(stride)) {
            let (target, _) = target.as_chunks_mut::<BYTES>();
            target.iter_mut().zip(row.iter().rev()).for_each(|(target, sample)| *target = *sample);
        }
        return;
    }
    // Rows of the target are columns of the source: a quarter clockwise reads them upwards, against it downwards
    // and from the right.
    for first_x in (0..height).step_by(BLOCK) {
        for (y, target) in target.chunks_mut(stride).take(width).enumerate() {
            let (target, _) = target.as_chunks_mut::<BYTES>();
            let block = first_x..(first_x + BLOCK).min(height);
            for (x, target) in block.clone().zip(&mut target[block]) {
                *target = match rotation {
                    Rotation::Quarter => source[height - 1 - x][y],
                    _ => source[x][width - 1 - y],
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16.16 fixed point, as in a display matrix.
    const ONE: i32 = 1 << 16;

    #[test]
    fn angles_are_clockwise() {
        let matrix = |a, b, c, d| [a, b, 0, c, d, 0, 0, 0, 1 << 30];
        assert_eq!(angle(&matrix(ONE, 0, 0, ONE)), Some(0.0));
        assert_eq!(angle(&matrix(0, ONE, -ONE, 0)), Some(90.0));
        assert_eq!(angle(&matrix(-ONE, 0, 0, -ONE)), Some(180.0));
        assert_eq!(angle(&matrix(0, -ONE, ONE, 0)), Some(-90.0));
        assert_eq!(angle(&[0; 9]), None);
    }

    #[test]
    fn tags_are_read_as_far_as_they_are_numbers() {
        assert_eq!(leading_number(" 90 degrees"), Some(90.0));
        assert_eq!(leading_number("-90"), Some(-90.0));
        assert_eq!(leading_number("up"), None);
    }

    #[test]
    fn samples_are_turned() {
        // 0 1 2
        // 3 4 5
        let rows: [&[u8]; 2] = [&[0, 1, 2], &[3, 4, 5]];
        let turned = |rotation, stride: usize, height: usize| {
            let mut target = vec![9; stride * height];
            turn_rows::<1>(&rows, &mut target, stride, rotation);
            target
        };
        assert_eq!(turned(Rotation::Quarter, 3, 3), [3, 0, 9, 4, 1, 9, 5, 2, 9]);
        assert_eq!(turned(Rotation::ThreeQuarters, 2, 3), [2, 5, 1, 4, 0, 3]);
        assert_eq!(turned(Rotation::Half, 3, 2), [5, 4, 3, 2, 1, 0]);
    }
}
