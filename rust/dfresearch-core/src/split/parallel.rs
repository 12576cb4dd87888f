//! The same small computation for very many numbers, on all processors.

use std::thread;

/// Fewer are not worth a thread.
const NUMBERS_PER_THREAD: usize = 1 << 14;

/// `compute` for each number below `count`, in their order.
pub(crate) fn compute_all<T: Send + Default + Clone>(
    count: usize,
    compute: impl Fn(usize) -> T + Sync,
) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = processors.min(count / NUMBERS_PER_THREAD).max(1);
    let mut results = vec![T::default(); count];
    let share = count.div_ceil(threads).max(1);
    thread::scope(|scope| {
        for (thread, part) in results.chunks_mut(share).enumerate() {
            let compute = &compute;
            let mut fill = move || {
                for (position, result) in part.iter_mut().enumerate() {
                    *result = compute(thread * share + position);
                }
            };
            if threads == 1 {
                fill();
            } else {
                scope.spawn(fill);
            }
        }
    });
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_gets_its_own_result() {
        for count in [0, 1, NUMBERS_PER_THREAD * 3 + 5] {
            let results = compute_all(count, |number| number * 3);
            assert!(results.iter().enumerate().all(|(number, result)| *result == number * 3));
            assert_eq!(results.len(), count);
        }
    }
}
