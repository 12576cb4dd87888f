//! The quantisation tables of a quality, and division by them without dividing.

use super::lanes::Lanes;

/// Rows of eight factors or coefficients.
type Rows<T> = [[T; 8]; 8];

/// Table K.1 of ITU-T T.81, luminance.
const LUMINANCE: Rows<u16> = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];

/// Table K.2 of ITU-T T.81, chrominance.
const CHROMINANCE: Rows<u16> = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
];

/// The forward transform leaves its coefficients eight times too large.
const TRANSFORM_SCALE: u16 = 8;

/// One component's quantisation: `round(coefficient / factor) * factor` for all 64 coefficients.
#[derive(Debug, Clone, Default)]
pub(super) struct Quantiser {
    factors: Rows<i16>,
    /// Members of [`Divisor`], in the bits of signed numbers.
    additions: Rows<i16>,
    reciprocals: Rows<i16>,
    scales: Rows<i16>,
}

/// Division of a 16-bit number by a constant, rounded to nearest, halves up: with Granlund and Montgomery's (1994)
/// multiplication by a reciprocal, `(number + addition) * reciprocal >> 16 + shift`. The shift is a multiplication by
/// `scale`, of which the upper 16 bits are kept: vectors have no shift that differs from number to number.
struct Divisor {
    addition: u16,
    reciprocal: u16,
    scale: u16,
}

impl Divisor {
    /// `divisor` is at least 2.
    fn new(divisor: u16) -> Self {
        let half = divisor / 2;
        let log2 = divisor.ilog2();
        if divisor.is_power_of_two() {
            return Self { addition: half, reciprocal: 1 << 15, scale: 1 << (17 - log2) };
        }
        // 17 significant bits would be exact; of the 16 there are, the reciprocal is rounded to the nearer side, and one
        // that is too small is made up for by one more in the addition.
        let power = 1u32 << (16 + log2);
        let (floor, rest) = (power / u32::from(divisor), power % u32::from(divisor));
        let round_down = rest <= u32::from(half);
        Self {
            addition: half + u16::from(round_down),
            reciprocal: (floor + u32::from(!round_down)) as u16,
            scale: 1 << (16 - log2),
        }
    }
}

impl Quantiser {
    /// Luminance and chrominance of `quality` from 1 to 100, as the IJG's library scales the standard's tables.
    pub(super) fn of_quality(quality: u8) -> [Self; 2] {
        let quality = u16::from(quality.clamp(1, 100));
        let percent = if quality < 50 { 5000 / quality } else { 200 - quality * 2 };
        [LUMINANCE, CHROMINANCE].map(|table| Self::new(table, percent))
    }

    fn new(table: Rows<u16>, percent: u16) -> Self {
        let mut quantiser = Self::default();
        for (row, factors) in table.iter().enumerate() {
            for (column, &factor) in factors.iter().enumerate() {
                let scaled = (u32::from(factor) * u32::from(percent) + 50) / 100;
                // Factors of a baseline JPEG have 8 bits.
                let factor = scaled.clamp(1, 255) as u16;
                let divisor = Divisor::new(factor * TRANSFORM_SCALE);
                quantiser.factors[row][column] = factor as i16;
                quantiser.additions[row][column] = divisor.addition as i16;
                quantiser.reciprocals[row][column] = divisor.reciprocal as i16;
                quantiser.scales[row][column] = divisor.scale as i16;
            }
        }
        quantiser
    }

    /// Quantises coefficients of row `row` of all blocks, as the forward transform leaves them, and restores them to
    /// what a decoder gets. Halves are rounded away from zero.
    #[inline(always)]
    pub(super) fn restore_row<L: Lanes>(&self, lanes: L, row: usize, coefficients: L::Vector) -> L::Vector {
        let sum = lanes.add16(lanes.abs16(coefficients), lanes.splat_row(&self.additions[row]));
        let product = lanes.multiply_high_unsigned(sum, lanes.splat_row(&self.reciprocals[row]));
        let quotient = lanes.multiply_high_unsigned(product, lanes.splat_row(&self.scales[row]));
        let restored = lanes.multiply_low(quotient, lanes.splat_row(&self.factors[row]));
        lanes.with_sign16(restored, coefficients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_rounded_to_nearest() {
        for divisor in (1..=255).map(|factor| factor * TRANSFORM_SCALE) {
            let Divisor { addition, reciprocal, scale } = Divisor::new(divisor);
            // 64 samples of -128 sum up to 8192; what rounding adds in both passes of the transform is a few units.
            for number in 0..9000u16 {
                let product = u32::from(number + addition) * u32::from(reciprocal) >> 16;
                let quotient = product * u32::from(scale) >> 16;
                assert_eq!(quotient, u32::from((number + divisor / 2) / divisor), "{number} / {divisor}");
            }
        }
    }

    #[test]
    fn tables_are_scaled_by_the_quality() {
        let [luminance, chrominance] = Quantiser::of_quality(50);
        assert_eq!(luminance.factors[7], LUMINANCE[7].map(|factor| factor as i16));
        assert_eq!(chrominance.factors[3], CHROMINANCE[3].map(|factor| factor as i16));
        assert_eq!(Quantiser::of_quality(100)[0].factors, [[1; 8]; 8]);
        assert_eq!(Quantiser::of_quality(1)[1].factors, [[255; 8]; 8]);
        // (16 * 50 + 50) / 100
        assert_eq!(Quantiser::of_quality(75)[0].factors[0][0], 8);
    }
}
