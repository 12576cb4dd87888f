//! Several handles and threads at once, and the cap that they share.

use std::thread;

use super::*;

#[test]
fn two_handles_write_two_logs_and_read_each_others() {
    let root = Root::new();
    let (one, other) = (root.open(), root.open());
    for number in 0..60 {
        fill(if number % 2 == 0 { &one } else { &other }, [number]);
    }
    assert!(root.file("log-001.index").exists() && !root.file("log-002.index").exists());
    assert_eq!((count_right(&one, 0..60), count_right(&other, 0..60)), (30, 30));
    one.refresh();
    other.refresh();
    assert_eq!((count_right(&one, 0..60), count_right(&other, 0..60)), (60, 60));
    fill(&one, 60..65);
    other.refresh();
    assert_eq!(count_right(&other, 0..65), 65);
    drop(one);
    // The log that is free again is taken by the next.
    let third = root.open();
    fill(&third, 65..70);
    other.refresh();
    assert_eq!(count_right(&other, 0..70), 70);
    assert!(!root.file("log-002.index").exists());
}

#[test]
fn many_threads_fill_and_read_one_cache() {
    let root = Root::new();
    let cache = root.open();
    thread::scope(|scope| {
        for start in 0..8 {
            let cache = &cache;
            scope.spawn(move || {
                for step in 0..200 {
                    let number = (start * 25 + step) % 200;
                    if count_right(cache, [number]) == 0 {
                        fill(cache, [number]);
                    }
                }
            });
        }
    });
    assert_eq!(count_right(&cache, 0..200), 200);
    let report = cache.report();
    assert_eq!((report.records, report.inserted, report.damaged), (200, 200, 0));
    drop(cache);
    assert_eq!(count_right(&root.open(), 0..200), 200);
}

#[test]
fn a_reader_follows_a_writer() {
    let root = Root::new();
    let (writer, reader) = (root.open(), root.open());
    thread::scope(|scope| {
        scope.spawn(|| fill(&writer, 0..300));
        while count_right(&reader, 0..300) < 300 {
            reader.refresh();
        }
    });
    assert_eq!(reader.report().damaged, 0);
}

#[test]
fn the_cap_is_exact_for_all_handles_together() {
    for max_bytes in [0, 1, 2_000, 5_000, 20_000, 50_001] {
        let root = Root::new();
        let others = settings("other");
        let caches = [
            root.open_with(settings("plain"), max_bytes),
            root.open_with(settings("plain"), max_bytes),
            root.open_with(others.clone(), max_bytes),
        ];
        thread::scope(|scope| {
            for (start, cache) in caches.iter().enumerate() {
                let root = &root;
                scope.spawn(move || {
                    for number in 0..100 {
                        fill(cache, [start as u64 * 100 + number]);
                        assert!(root.bytes() <= max_bytes, "{} > {max_bytes}", root.bytes());
                    }
                });
            }
        });
        for (start, cache) in caches.iter().enumerate() {
            let report = cache.report();
            assert!(report.is_full && report.notices.len() == 1, "{report:?}");
            assert!(report.notices[0].contains("DFRESEARCH_SAMPLE_CACHE_GB"), "{report:?}");
            let start = start as u64 * 100;
            assert_eq!(count_right(cache, start..start + 100) as u64, report.inserted);
        }
        let kept: u64 = caches.iter().map(|cache| cache.report().inserted).sum();
        assert!(root.bytes() <= max_bytes && (max_bytes < 5_000 || kept > 0), "{kept} at {max_bytes}");
        drop(caches);
        assert!(root.bytes() <= max_bytes);
        assert_eq!(
            count_right(&root.open(), 0..200) + count_right(&root.open_with(others, NO_CAP), 200..300),
            kept as usize
        );
    }
}

#[test]
fn a_cap_is_used_to_the_last_step() {
    let root = Root::new();
    let max_bytes = 30_000;
    let cache = root.open_with(settings("plain"), max_bytes);
    (0..100).for_each(|number| cache.insert(&content(number), &[number as u8; 64]));
    let kept = cache.report().records;
    // 64 bytes each for record and entry: what is left is less than both, but for the rest of a step.
    let room = max_bytes - settings("plain").text().len() as u64;
    assert_eq!(kept, 100.min(room / 128));
    let mut number = 100;
    while !cache.report().is_full {
        cache.insert(&content(number), &[number as u8; 64]);
        number += 1;
    }
    let kept = cache.report().records * 128;
    assert!(kept <= room && kept + 128 + SMALL.index_reserve_bytes > room, "{kept} of {room}");
}

#[test]
fn a_file_that_cannot_grow_ends_the_admission_with_its_reason() {
    let root = Root::new();
    let cache = root.open();
    fill(&cache, 0..2);
    // The next log cannot be made: its name is taken by a folder.
    let other = root.open();
    fs::create_dir(root.file("log-001.records")).unwrap();
    fill(&other, 2..4);
    let report = other.report();
    assert!(!report.is_full && report.inserted == 0, "{report:?}");
    assert!(
        report.notices.len() == 1 && report.notices[0].contains("no further samples are kept"),
        "{report:?}"
    );
    assert_eq!(count_right(&other, 0..4), 2);
}
