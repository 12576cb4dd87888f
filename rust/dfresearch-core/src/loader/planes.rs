//! The last step of every picture: interleaved pixels to one plane a channel, straight into the batch.

/// `[H, W, 3]` to `[3, H, W]`, mirrored from left to right on the way when `flip` is set.
pub(super) fn write_planes(pixels: &[u8], width: usize, flip: bool, planes: &mut [u8]) {
    let plane = planes.len() / 3;
    let (red, rest) = planes.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let rows =
        red.chunks_exact_mut(width).zip(green.chunks_exact_mut(width)).zip(blue.chunks_exact_mut(width));
    for (((red, green), blue), row) in rows.zip(pixels.chunks_exact(width * 3)) {
        let (row, _) = row.as_chunks::<3>();
        let targets = red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut());
        let copy = |(((red, green), blue), pixel): (((&mut u8, &mut u8), &mut u8), &[u8; 3])| {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        };
        if flip {
            targets.zip(row.iter().rev()).for_each(copy);
        } else {
            targets.zip(row).for_each(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_are_split_and_mirrored() {
        let pixels: Vec<u8> = (0..12).collect();
        let mut planes = [0; 12];
        write_planes(&pixels, 2, false, &mut planes);
        assert_eq!(planes, [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
        write_planes(&pixels, 2, true, &mut planes);
        assert_eq!(planes, [3, 0, 9, 6, 4, 1, 10, 7, 5, 2, 11, 8]);
    }
}
