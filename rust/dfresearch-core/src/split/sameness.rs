//! Which of many things are equal, in little memory: sorted by eight bytes of each, and compared where those agree.

use std::cmp::Ordering;

/// For each of `count` things, the first one that equals it: itself, unless there is an earlier one.
///
/// `prefix` is equal for equal things, and seldom for others; `compare` tells those apart. 20 bytes a thing are taken
/// while this runs.
pub(crate) fn first_equal(
    count: usize,
    prefix: impl Fn(usize) -> u64,
    compare: impl Fn(usize, usize) -> Ordering,
) -> Vec<u32> {
    let mut order: Vec<(u64, u32)> = (0..count).map(|number| (prefix(number), number as u32)).collect();
    order.sort_unstable();
    let mut first: Vec<u32> = (0..count as u32).collect();
    for alike in order.chunk_by_mut(|one, next| one.0 == next.0).filter(|alike| alike.len() > 1) {
        let compared = |one: &(u64, u32), other: &(u64, u32)| compare(one.1 as usize, other.1 as usize);
        // Stable: of equal things, the first one stays the first.
        alike.sort_by(compared);
        for equal in alike.chunk_by(|one, next| compared(one, next) == Ordering::Equal) {
            equal.iter().for_each(|&(_, number)| first[number as usize] = equal[0].1);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_equal_one_is_found(things in prop::collection::vec(0..20u64, 0..60)) {
            // A prefix that only tells odd from even.
            let found = first_equal(things.len(), |at| things[at] % 2, |one, other| things[one].cmp(&things[other]));
            for (number, thing) in things.iter().enumerate() {
                let expected = things.iter().position(|other| other == thing);
                prop_assert_eq!(Some(found[number] as usize), expected);
            }
        }
    }
}
