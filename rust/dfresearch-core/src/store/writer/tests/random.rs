//! Fetches to which anything may happen.

use std::fs;

use proptest::prelude::*;

use super::{Cache, STEPS, offer, undisturbed};

/// What happens to a fetch.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The next media are offered.
    Offer(u32),
    Commit,
    /// The process is killed after some steps of a commit.
    Kill(usize),
    /// A file that was fetched is deleted between two runs.
    Lose(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1..8u32).prop_map(Event::Offer),
        1 => Just(Event::Commit),
        2 => (0..=STEPS.len()).prop_map(Event::Kill),
        1 => (0..30usize).prop_map(Event::Lose),
    ];
    prop::collection::vec(event, 0..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_a_rerun_ends_like_an_undisturbed_run(events in events(), rest in 0..20u32) {
        let cache = Cache::new();
        let mut writer = cache.begin("r1");
        let (mut next, mut most) = (0, 0);
        for event in events {
            match event {
                Event::Offer(count) => {
                    (next..next + count).for_each(|number| offer(&mut writer, number));
                    next += count;
                    most = most.max(next);
                }
                Event::Commit => writer.commit().unwrap(),
                Event::Kill(_) | Event::Lose(_) => {
                    if let Event::Kill(steps) = event {
                        writer.write_first_steps(steps);
                        std::mem::forget(std::mem::take(&mut writer.session.as_mut().unwrap().pending));
                    }
                    drop(writer);
                    if let Event::Lose(number) = event {
                        let _ = fs::remove_file(cache.file(&format!("{number:06}.bmp")));
                    }
                    writer = cache.begin("r1");
                    next = 0;
                }
            }
        }
        drop(writer);
        cache.run("r1", most + rest);
        prop_assert_eq!(cache.all(), undisturbed(most + rest));
    }
}
