//! The last step of every picture: interleaved pixels to one plane a channel, straight into the batch.
//!
//! ```text
//!   r g b r g b r g b … ─► r r r …   g g g …   b b b …      mirrored: the last pixel of a row first
//! ```
//!
//! Without mirroring rows do not matter: the image is one long row. On x86 a step takes 64 pixels by AVX-512's byte
//! permutations or 32 by AVX2's shuffles; the last step of a row reaches back over pixels that are written already.
//! Other processors get what the compiler makes of the plain loop (on ARM: loads that take triples apart).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// Bytes a pixel.
const CHANNELS: usize = 3;

/// Splits rows of so many pixels into planes of the same number of pixels, mirrored or not.
type SplitRows = fn(&[u8], usize, [&mut [u8]; CHANNELS], bool);

/// Writes `pixels`, `[H, W, 3]`, to `planes`, `[3, H, W]`, mirrored from left to right on the way when `flip` is set.
///
/// Both have the same length, a multiple of `3 * width`.
pub fn write_planes(pixels: &[u8], width: usize, flip: bool, planes: &mut [u8]) {
    let plane = planes.len() / CHANNELS;
    let row = if flip { width } else { plane };
    if row == 0 {
        return;
    }
    let (red, rest) = planes.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    split_rows_for(row)(pixels, row, [red, green, blue], flip);
}

/// The fastest way that this processor has for rows of `width` pixels.
fn split_rows_for(width: usize) -> SplitRows {
    #[cfg(target_arch = "x86_64")]
    if let Some(split_rows) = avx512::split_rows_for(width).or_else(|| avx2::split_rows_for(width)) {
        return split_rows;
    }
    let _ = width;
    split_rows
}

fn split_rows(pixels: &[u8], width: usize, [red, green, blue]: [&mut [u8]; CHANNELS], flip: bool) {
    let rows =
        red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
    for (((red, green), blue), row) in rows.zip(pixels.chunks_exact(width * CHANNELS)) {
        let (row, _) = row.as_chunks::<CHANNELS>();
        let targets = red.iter_mut().zip(green).zip(blue);
        let copy = |(((red, green), blue), pixel): (((&mut u8, &mut u8), &mut u8), &[u8; CHANNELS])| {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        };
        if flip {
            targets.zip(row.iter().rev()).for_each(copy);
        } else {
            targets.zip(row).for_each(copy);
        }
    }
}

/// The first pixels of the steps that cover a row of `width` pixels, which is at least one step long.
#[cfg(target_arch = "x86_64")]
fn steps(width: usize, step: usize) -> impl Iterator<Item = usize> {
    let last = width - step;
    (0..width.div_ceil(step)).map(move |number| (number * step).min(last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn planes_are_split_and_mirrored() {
        let pixels: Vec<u8> = (0..12).collect();
        let mut planes = [0; 12];
        write_planes(&pixels, 2, false, &mut planes);
        assert_eq!(planes, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        write_planes(&pixels, 2, true, &mut planes);
        assert_eq!(planes, [3, 0, 9, 6, 4, 1, 10, 7, 5, 2, 11, 8]);
        write_planes(&[], 0, true, &mut []);
        write_planes(&[], 4, false, &mut []);
    }

    /// What this processor would do without AVX-512, and without both.
    fn ways(width: usize) -> Vec<SplitRows> {
        let mut ways: Vec<SplitRows> = vec![split_rows];
        #[cfg(target_arch = "x86_64")]
        ways.extend([avx2::split_rows_for(width), avx512::split_rows_for(width)].into_iter().flatten());
        ways
    }

    proptest! {
        #[test]
        fn every_pixel_goes_to_its_place(width in 1usize..300, height in 1usize..5, flip: bool, seed: u64) {
            let byte = |place: usize| (seed.wrapping_mul(place as u64 * 2 + 1) >> 56) as u8;
            let pixels: Vec<u8> = (0..height * width * CHANNELS).map(byte).collect();
            let pixel_at = |x: usize, y: usize| if flip { y * width + width - 1 - x } else { y * width + x };
            let expected: Vec<u8> = (0..CHANNELS)
                .flat_map(|channel| (0..height).flat_map(move |y| (0..width).map(move |x| (channel, x, y))))
                .map(|(channel, x, y)| pixels[pixel_at(x, y) * CHANNELS + channel])
                .collect();
            let mut planes = vec![0; pixels.len()];
            write_planes(&pixels, width, flip, &mut planes);
            prop_assert_eq!(&planes, &expected);

            for split_rows in ways(width) {
                let mut planes = vec![0; pixels.len()];
                let (red, rest) = planes.split_at_mut(width * height);
                let (green, blue) = rest.split_at_mut(width * height);
                split_rows(&pixels, width, [red, green, blue], flip);
                prop_assert_eq!(&planes, &expected);
            }
        }
    }
}
