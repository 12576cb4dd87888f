//! The vector operations that the round trip is written in, once for every width of vector.
//!
//! A vector is a whole number of 128-bit lanes, and an operation works inside of each lane unless its name says
//! `ordered`: that is what x86 has instructions for, and a block of 8 x 8 samples is 8 lanes of 8 numbers, so that the
//! arithmetic on blocks never crosses a lane.

/// The vector operations of one set of processor features; the value proves that this processor has them.
pub(crate) trait Lanes: Copy {
    /// Numbers of 8, 16 or 32 bits, as the operation sees them.
    type Vector: Copy;

    /// 16-bit numbers in a vector: one row of `WIDTH / 8` blocks.
    const WIDTH: usize;

    /// The proof, if this processor has the features.
    fn detect() -> Option<Self>;

    /// Compiles `task` for the features, and runs it.
    fn run<T: Task>(self, task: T);

    /// `value` in every 16 bits.
    fn splat16(self, value: i16) -> Self::Vector;
    /// `value` in every 32 bits.
    fn splat32(self, value: i32) -> Self::Vector;
    /// Eight numbers in every lane.
    fn splat_row(self, row: &[i16; 8]) -> Self::Vector;

    /// The vector of 16-bit numbers that begins at `from[at]`.
    fn load16(self, from: &[i16], at: usize) -> Self::Vector;
    /// Eight vectors, one behind the other.
    fn load_tile(self, from: &[i16], at: usize) -> [Self::Vector; 8];
    /// Stores a vector of 16-bit numbers at `to[at]`.
    fn store16(self, to: &mut [i16], at: usize, vector: Self::Vector);
    /// The vector of bytes that begins at `from[at]`.
    fn load8(self, from: &[u8], at: usize) -> Self::Vector;
    /// Stores the lanes' lower halves one behind the other at `to[low]`, their upper halves at `to[high]`.
    fn store_halves(self, to: &mut [u8], low: usize, high: usize, vector: Self::Vector);

    /// `2 * WIDTH` RGB pixels as four vectors of pairs `(blue, blue)` and four of `(red, green)`; narrowing the first
    /// two and the last two results made of them yields `WIDTH` pixels in their order.
    fn load_rgb(self, from: &[u8], at: usize) -> [[Self::Vector; 2]; 4];
    /// `2 * WIDTH` RGB pixels: red, green and blue of those in even columns and of those in odd ones, clamped.
    fn store_rgb(self, to: &mut [u8], at: usize, even: [Self::Vector; 3], odd: [Self::Vector; 3]);

    /// 16-bit sum.
    fn add16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 16-bit difference.
    fn sub16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 32-bit sum.
    fn add32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 32-bit difference.
    fn sub32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The lower of two signed 16-bit numbers.
    fn min16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The higher of two signed 16-bit numbers.
    fn max16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Bitwise and.
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The lower 16 bits of the product.
    fn multiply_low(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The upper 16 bits of the signed product.
    fn multiply_high(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `(a * b + 2^14) >> 15` of signed 16-bit numbers.
    fn multiply_rounded(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 32-bit `a0 * b0 + a1 * b1` of signed 16-bit pairs.
    fn dot(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `sum + dot(a, b)`.
    fn dot_add(self, sum: Self::Vector, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a << bits`, 16 bits.
    fn left16(self, a: Self::Vector, bits: i32) -> Self::Vector;
    /// `a >> bits` with the sign, 16 bits.
    fn right16(self, a: Self::Vector, bits: i32) -> Self::Vector;
    /// `a >> bits` with the sign, 32 bits.
    fn right32(self, a: Self::Vector, bits: i32) -> Self::Vector;
    /// `a >> 8` with zeros, 16 bits: the bytes in odd places.
    fn odd_bytes(self, a: Self::Vector) -> Self::Vector;
    /// `a >> 16` with zeros, 32 bits: the upper half of each.
    fn upper_halves(self, a: Self::Vector) -> Self::Vector;
    /// The upper 16 bits of each 32 from `upper`, the lower 16 bits from `lower`.
    fn join_halves(self, upper: Self::Vector, lower: Self::Vector) -> Self::Vector;

    /// Interleaves 8-bit numbers of the lanes' lower halves.
    fn interleave_low8(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves 8-bit numbers of the lanes' upper halves.
    fn interleave_high8(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves 16-bit numbers of the lanes' lower halves.
    fn interleave_low16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves 16-bit numbers of the lanes' upper halves.
    fn interleave_high16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves 32-bit numbers of the lanes' lower halves.
    fn interleave_low32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves 32-bit numbers of the lanes' upper halves.
    fn interleave_high32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves the lanes' lower halves.
    fn interleave_low64(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Interleaves the lanes' upper halves.
    fn interleave_high64(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// 32 to 16 bits with saturation, lane by lane: `a` into the lower halves, `b` into the upper ones.
    fn narrow32(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// 32 to 16 bits with saturation: all of `a`, then all of `b`.
    fn narrow32_ordered(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Signed 16 to unsigned 8 bits with saturation, lane by lane: `a` into the lower halves, `b` into the upper ones.
    fn narrow16(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// The pair `(first, second)` in every 32 bits.
    #[inline(always)]
    fn splat_pair(self, first: i16, second: i16) -> Self::Vector {
        self.splat32(i32::from(second) << 16 | i32::from(first) & 0xffff)
    }
}

/// Work that is compiled anew for each set of processor features. What `run` calls is marked `inline(always)`: a function
/// of its own would be compiled without the features.
pub(crate) trait Task {
    /// Does the work.
    fn run<L: Lanes>(self, lanes: L);
}
