//! Fetches to which anything may happen.

use proptest::prelude::*;

use super::*;

/// What happens to a fetch.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The next media are offered.
    Offer(u32),
    Commit,
    /// The process is killed after some steps of a commit.
    Kill(usize),
    /// A file, or a frame of a clip, that was fetched is deleted between two runs.
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

fn lost_file(modality: Modality, number: usize) -> String {
    let frame = if modality == Modality::Video { "/000000" } else { "" };
    format!("{number:06}{frame}.bmp")
}

/// Lets all that happen to a fetch of `modality`, and then one run to its end.
fn run_through(modality: Modality, events: Vec<Event>, rest: u32) -> Result<(), TestCaseError> {
    let cache = Cache::of(modality);
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
                    let _ = fs::remove_file(cache.file(&lost_file(modality, number)));
                }
                writer = cache.begin("r1");
                next = 0;
            }
        }
    }
    drop(writer);
    cache.run("r1", most + rest);
    prop_assert_eq!(cache.all(), undisturbed_of(modality, most + rest));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_happens_a_rerun_ends_like_an_undisturbed_run(events in events(), rest in 0..20u32) {
        run_through(Modality::Image, events, rest)?;
    }

    #[test]
    fn whatever_happens_to_clips_a_rerun_ends_like_an_undisturbed_run(events in events(), rest in 0..20u32) {
        run_through(Modality::Video, events, rest)?;
    }
}
