//! What makes way, in which order, and what never does.

use std::time::{Duration, SystemTime};

use super::*;
use crate::sample_cache::eviction::{USE_FILE, make_room};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn of_older_decoder(preprocessing: &str) -> StoreSettings {
    StoreSettings { decoder_version: "older".into(), ..settings(preprocessing) }
}

/// A closed store with two records that was used last so long ago.
fn store(root: &Root, settings: &StoreSettings, unused_for: Duration) -> PathBuf {
    fill(&root.open_with(settings.clone(), NO_CAP), 0..2);
    let folder = root.path().join(settings.folder_name());
    let file = fs::File::open(folder.join(USE_FILE)).unwrap();
    file.set_modified(SystemTime::now() - unused_for).unwrap();
    folder
}

#[test]
fn stale_stores_go_in_order_and_only_as_many_as_needed() {
    let root = Root::new();
    let open = root.open_with(of_older_decoder("open"), NO_CAP);
    let stores = [
        store(&root, &of_older_decoder("long ago"), 3 * DAY),
        store(&root, &of_older_decoder("just now"), Duration::ZERO),
        store(&root, &settings("long ago"), 5 * DAY),
        store(&root, &settings("yesterday"), DAY),
        store(&root, &settings("today"), DAY / 2),
    ];
    let left = || stores.iter().filter(|store| store.exists()).count();
    let mut order = Vec::new();
    for expected in [4, 3, 2, 1, 1] {
        make_room(root.path(), &settings("plain"), || Ok(left() <= expected)).unwrap();
        order.push(left());
    }
    assert_eq!(order, [4, 3, 2, 1, 1]);
    assert!(stores[4].exists());
    assert!(root.path().join(of_older_decoder("open").folder_name()).exists());
    drop(open);
    make_room(root.path(), &settings("plain"), || Ok(false)).unwrap();
    assert!(!root.path().join(of_older_decoder("open").folder_name()).exists());
}

#[test]
fn the_first_to_go_is_the_longest_unused_of_another_decoder() {
    let root = Root::new();
    let recent = store(&root, &of_older_decoder("recent"), Duration::from_secs(60));
    let old = store(&root, &of_older_decoder("old"), DAY);
    let ours = store(&root, &settings("ours"), 9 * DAY);
    make_room(root.path(), &settings("plain"), || Ok(!old.exists())).unwrap();
    assert!(recent.exists() && ours.exists() && !old.exists());
    make_room(root.path(), &settings("plain"), || Ok(!recent.exists())).unwrap();
    assert!(ours.exists() && !recent.exists());
}

#[test]
fn a_full_cache_makes_room_by_stale_stores() {
    let root = Root::new();
    let stale = store(&root, &of_older_decoder("stale"), Duration::ZERO);
    let fresh = store(&root, &settings("fresh"), Duration::ZERO);
    let max_bytes = root.bytes() + 1000;
    let cache = root.open_with(settings("plain"), max_bytes);
    fill(&cache, 0..100);
    assert!(!stale.exists() && fresh.exists());
    assert!(cache.report().records > 0 && root.bytes() <= max_bytes, "{:?}", cache.report());
}

#[test]
fn what_a_killed_eviction_left_is_removed() {
    let root = Root::new();
    let leftover = root.path().join(".evicted-image-0123456789abcdef");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("log-000.records"), [0; 100]).unwrap();
    let kept = root.path().join("not-a-store");
    fs::create_dir(&kept).unwrap();
    make_room(root.path(), &settings("plain"), || Ok(true)).unwrap();
    assert!(!leftover.exists() && kept.exists());
}

#[test]
fn a_survey_tells_what_is_there() {
    let root = Root::new();
    let older = store(&root, &of_older_decoder("plain"), DAY);
    let cache = root.open();
    fill(&cache, 0..7);
    let summaries = survey(root.path()).unwrap();
    let told: Vec<_> = summaries.iter().map(|it| (it.records, it.is_current, it.is_open)).collect();
    assert_eq!(told, [(7, true, true), (2, false, false)]);
    assert_eq!(summaries[0].settings, Some(settings("plain")));
    assert_eq!((&summaries[1].folder, summaries[1].bytes), (&older, capacity::bytes_below(&older).unwrap()));
    assert_eq!(survey(&root.path().join("not there")).unwrap(), []);
}

#[test]
fn clearing_leaves_open_stores() {
    let root = Root::new();
    store(&root, &settings("closed"), Duration::ZERO);
    let cache = root.open();
    fill(&cache, 0..3);
    let cleared = clear(root.path()).unwrap();
    assert_eq!(
        (cleared.stores, cleared.in_use),
        (1, vec![root.file("").parent().unwrap().join(settings("plain").folder_name())])
    );
    assert_eq!(count_right(&cache, 0..3), 3);
    drop(cache);
    assert_eq!(clear(root.path()).unwrap().stores, 1);
    assert_eq!(count_right(&root.open(), 0..3), 0);
    assert_eq!(clear(&root.path().join("not there")).unwrap(), Cleared::default());
}
