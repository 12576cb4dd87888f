//! Torn and altered files: never a wrong byte, and the store goes on.

use super::*;

/// Changes a byte of a file in place.
fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 0x40;
    write_in_place(path, &bytes);
}

/// The inode stays.
fn write_in_place(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn an_index_that_is_torn_anywhere_keeps_the_entries_before() {
    let root = Root::new();
    fill(&root.open(), 0..4);
    let index = root.file("log-000.index");
    let whole = fs::read(&index).unwrap();
    for length in (0..=whole.len()).rev() {
        fs::write(&index, &whole[..length]).unwrap();
        let kept = length / 64;
        let cache = root.open();
        assert_eq!(count_right(&cache, 0..4), kept, "{length} bytes");
        fill(&cache, [10, 11]);
        assert_eq!(count_right(&cache, [10, 11]), 2);
        drop(cache);
        let again = root.open();
        assert_eq!(count_right(&again, 0..4), kept);
        assert_eq!(count_right(&again, [10, 11]), 2);
        assert_eq!(index.metadata().unwrap().len(), (kept as u64 + 2) * 64);
    }
}

#[test]
fn records_that_are_torn_anywhere_are_never_shown_in_part() {
    let root = Root::new();
    fill(&root.open(), 0..4);
    let (records, index) = (root.file("log-000.records"), root.file("log-000.index"));
    let (whole, whole_index) = (fs::read(&records).unwrap(), fs::read(&index).unwrap());
    for length in (0..whole.len()).rev().step_by(17) {
        fs::write(&records, &whole[..length]).unwrap();
        fs::write(&index, &whole_index).unwrap();
        let cache = root.open();
        let there = count_right(&cache, 0..4);
        assert!(there < 4);
        assert_eq!(cache.report().damaged, 4 - there as u64);
        fill(&cache, 0..4);
        assert_eq!(count_right(&cache, 0..4), 4);
        drop(cache);
        assert_eq!(count_right(&root.open(), 0..4), 4, "{length} bytes");
    }
}

#[test]
fn a_damaged_record_is_named_dropped_and_written_again() {
    let root = Root::new();
    fill(&root.open(), 0..3);
    flip(&root.file("log-000.records"), 70);
    let cache = root.open();
    assert_eq!(cache.report().records, 3);
    assert_eq!(cache.get(&content(1)), None);
    assert_eq!(cache.get(&content(1)), None);
    let report = cache.report();
    assert_eq!((report.records, report.damaged), (2, 1));
    assert!(report.notices[0].contains("log-000.records"), "{:?}", report.notices);
    fill(&cache, [1]);
    assert_eq!((count_right(&cache, 0..3), cache.report().records), (3, 3));
    drop(cache);
    let again = root.open();
    assert_eq!(count_right(&again, 0..3), 3);
    assert_eq!(again.report().damaged, 0);
}

#[test]
fn what_replaces_a_damaged_record_wins_from_an_earlier_log_too() {
    let root = Root::new();
    let (first, second) = (root.open(), root.open());
    fill(&first, [0]);
    fill(&second, [1]);
    drop((first, second));
    flip(&root.file("log-001.records"), 5);
    let cache = root.open();
    assert_eq!(count_right(&cache, [1]), 0);
    fill(&cache, [1]);
    drop(cache);
    assert_eq!(root.file("log-001.index").metadata().unwrap().len(), 64);
    let again = root.open();
    assert_eq!((count_right(&again, [0, 1]), again.report().damaged), (2, 0));
}

#[test]
fn a_damaged_entry_hides_its_record_and_no_other() {
    let root = Root::new();
    fill(&root.open(), 0..4);
    let index = root.file("log-000.index");
    let whole = fs::read(&index).unwrap();
    for position in 0..whole.len() {
        flip(&index, position);
        let cache = root.open();
        assert_eq!(count_right(&cache, 0..4), 3, "byte {position}");
        assert_eq!(cache.get(&content(position as u64 / 64)), None);
        drop(cache);
        write_in_place(&index, &whole);
    }
    flip(&index, 70);
    let records = fs::read(root.file("log-000.records")).unwrap();
    let cache = root.open();
    fill(&cache, [1, 2, 8]);
    assert_eq!(count_right(&cache, [0, 1, 2, 3, 8]), 5);
    drop(cache);
    // Who still has the record of the lost entry goes on reading the same bytes.
    assert_eq!(fs::read(root.file("log-000.records")).unwrap()[..records.len()], records);
    assert_eq!(count_right(&root.open(), [0, 1, 2, 3, 8]), 5);
}

#[test]
fn the_record_of_a_lost_last_entry_is_not_written_over() {
    let root = Root::new();
    fill(&root.open(), 0..2);
    let reader = root.open();
    let held = reader.get(&content(1)).unwrap();
    flip(&root.file("log-000.index"), 64 + 20);
    let writer = root.open();
    fill(&writer, 2..40);
    assert_eq!(held, record(1));
    assert_eq!(count_right(&writer, 0..40), 39);
    drop(writer);
    assert_eq!(count_right(&root.open(), 0..40), 39);
    assert_eq!(held, record(1));
}

#[test]
fn zeros_between_entries_hide_what_was_there_and_no_more() {
    let root = Root::new();
    fill(&root.open(), 0..6);
    let index = root.file("log-000.index");
    let mut bytes = fs::read(&index).unwrap();
    bytes[64..192].fill(0);
    write_in_place(&index, &bytes);
    let cache = root.open();
    assert_eq!(count_right(&cache, 0..6), 4);
    fill(&cache, 0..8);
    assert_eq!(count_right(&cache, 0..8), 8);
    drop(cache);
    assert_eq!(count_right(&root.open(), 0..8), 8);
}

#[test]
fn what_a_killed_writer_had_reserved_is_used_by_the_next() {
    let root = Root::new();
    fill(&root.open(), 0..2);
    let (records, index) = (root.file("log-000.records"), root.file("log-000.index"));
    let used = records.metadata().unwrap().len();
    cut(&records, 30_000);
    cut(&index, 1024 + 5);
    let cache = root.open();
    assert_eq!(count_right(&cache, 0..4), 2);
    fill(&cache, 2..4);
    assert_eq!(records.metadata().unwrap().len(), 30_000);
    drop(cache);
    assert!(records.metadata().unwrap().len() < used + 4000);
    assert_eq!(index.metadata().unwrap().len(), 256);
    assert_eq!(count_right(&root.open(), 0..4), 4);
}

#[test]
fn logs_of_other_settings_are_not_believed() {
    let root = Root::new();
    fill(&root.open(), 0..3);
    let other = settings("other");
    drop(root.open_with(other.clone(), NO_CAP));
    for name in ["log-000.index", "log-000.records"] {
        fs::copy(root.file(name), root.path().join(other.folder_name()).join(name)).unwrap();
    }
    let cache = root.open_with(other, NO_CAP);
    assert_eq!((count_right(&cache, 0..3), cache.report().records), (0, 0));
}

#[test]
fn a_store_whose_settings_are_not_what_its_name_says_is_made_anew() {
    for written in ["", "{}", "not there", &settings("other").text()] {
        let root = Root::new();
        fill(&root.open(), 0..3);
        match written {
            "not there" => fs::remove_file(root.file("settings.json")).unwrap(),
            text => fs::write(root.file("settings.json"), text).unwrap(),
        }
        let cache = root.open();
        assert_eq!(count_right(&cache, 0..3), 0, "{written:?}");
        fill(&cache, 0..3);
        drop(cache);
        assert_eq!(count_right(&root.open(), 0..3), 3);
    }
    let root = Root::new();
    let open = root.open();
    fs::write(root.file("settings.json"), "{}").unwrap();
    let error =
        SampleCache::open_with(root.path(), settings("plain"), NO_CAP, SMALL).unwrap_err().to_string();
    assert!(error.contains("settings.json") && error.contains("another process"), "{error}");
    drop(open);
    assert_eq!(count_right(&root.open(), 0..3), 0);
}
