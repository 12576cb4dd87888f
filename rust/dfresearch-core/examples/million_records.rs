//! How long the sample cache takes to open, to look up and to add records, and how much memory.
//!
//! ```text
//! cargo run --release --example million_records -- FOLDER 1000000 768
//! ```
//!
//! The folder is filled with so many records of so many bytes and emptied again. Every step is repeated, the least
//! time counts.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dfresearch_core::Modality;
use dfresearch_core::sample_cache::{SampleCache, clear};
use dfresearch_core::store::ContentHash;

const REPEATS: usize = 5;

/// Memory of this process that is no file's, in bytes.
fn anonymous_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// For how long this thread has had a processor.
fn processor_time() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn look_up_all(cache: &SampleCache, contents: &[ContentHash]) -> Duration {
    timed(|| contents.iter().for_each(|content| assert!(cache.get(content).is_some()))).0
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, count, bytes] = arguments.as_slice() else {
        return println!("usage: million_records FOLDER COUNT BYTES");
    };
    let (root, count, bytes) = (Path::new(folder), count.parse().unwrap(), bytes.parse().unwrap());
    let open = || SampleCache::open(root, Modality::Image, "bytes for measuring", 1 << 40).unwrap();
    let contents: Vec<ContentHash> =
        (0..count).map(|number: u64| ContentHash::of(&number.to_le_bytes())).collect();
    let record = vec![7; bytes];
    let each = |time: Duration| time.as_nanos() as u64 / count;

    let cache = open();
    let (inserting, ()) = timed(|| contents.iter().for_each(|content| cache.insert(content, &record)));
    println!("insert       {:6} ns a record", each(inserting));
    drop(cache);

    let (mut opening, mut busy, mut first) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..REPEATS {
        let before = processor_time();
        let (time, cache) = timed(open);
        opening = opening.min(time);
        busy = busy.min(processor_time() - before);
        first = first.min(look_up_all(&cache, &contents));
    }
    println!("open         {:6} ms, {} ms of it on a processor", opening.as_millis(), busy.as_millis());
    println!("first get    {:6} ns a record, checksum of {bytes} bytes and page fault included", each(first));

    let before = anonymous_memory();
    let cache = open();
    let memory = anonymous_memory().saturating_sub(before);
    println!("memory       {:6} bytes a record", memory / count);
    look_up_all(&cache, &contents);
    let later = (0..REPEATS).map(|_| look_up_all(&cache, &contents)).min().unwrap();
    println!("later get    {:6} ns a record", each(later));
    for threads in [2, 4] {
        let all = || {
            thread::scope(|scope| {
                (0..threads).for_each(|_| drop(scope.spawn(|| look_up_all(&cache, &contents))))
            })
        };
        let time = (0..REPEATS).map(|_| timed(all).0).min().unwrap();
        println!("{threads} threads    {:6} ns a record, each looks up all", each(time));
    }
    let refreshing = (0..1000).map(|_| timed(|| cache.refresh()).0).min().unwrap();
    println!("refresh      {:6} ns with nothing new", refreshing.as_nanos());
    drop(cache);
    println!("cleared      {:6} MiB", clear(root).unwrap().bytes >> 20);
}
