//! Any sequence of steps over several handles, compared with a table in memory.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Insert {
        handle: usize,
        number: u64,
    },
    Get {
        handle: usize,
        number: u64,
    },
    Refresh {
        handle: usize,
    },
    Reopen {
        handle: usize,
    },
    /// All handles are closed, and a byte of some file changes.
    Damage {
        file: usize,
        position: usize,
        difference: u8,
    },
    /// All handles are closed, and some file loses its end.
    Tear {
        file: usize,
        kept: usize,
    },
}

const HANDLES: usize = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let handle = 0..HANDLES;
    let step = prop_oneof![
        6 => (handle.clone(), 0..40u64).prop_map(|(handle, number)| Step::Insert { handle, number }),
        6 => (handle.clone(), 0..40u64).prop_map(|(handle, number)| Step::Get { handle, number }),
        2 => handle.clone().prop_map(|handle| Step::Refresh { handle }),
        2 => handle.prop_map(|handle| Step::Reopen { handle }),
        1 => (0..8usize, any::<usize>(), 1..=255u8)
            .prop_map(|(file, position, difference)| Step::Damage { file, position, difference }),
        1 => (0..8usize, any::<usize>()).prop_map(|(file, kept)| Step::Tear { file, kept }),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The index or the records of some log, the same for the same files.
fn some_log_file(root: &Root, number: usize) -> Option<PathBuf> {
    let folder = root.file("");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"));
    files.sort();
    (!files.is_empty()).then(|| files.swap_remove(number % files.len()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_cache_equals_a_table(steps in steps()) {
        let root = Root::new();
        let mut handles: Vec<SampleCache> = (0..HANDLES).map(|_| root.open()).collect();
        // What must be found, and by which handles it must be found without a refresh.
        let mut there: HashMap<u64, [bool; HANDLES]> = HashMap::new();
        let mut is_damaged = false;
        for step in steps {
            match step {
                Step::Insert { handle, number } => {
                    // As a loader does: insert follows a look-up that found nothing.
                    if count_right(&handles[handle], [number]) == 0 {
                        fill(&handles[handle], [number]);
                    }
                    prop_assert_eq!(count_right(&handles[handle], [number]), 1);
                    there.entry(number).or_default()[handle] = true;
                }
                Step::Get { handle, number } => {
                    let found = count_right(&handles[handle], [number]) == 1;
                    let known = there.get(&number);
                    if !is_damaged && known.is_some_and(|known| known[handle]) {
                        prop_assert!(found);
                    }
                    if known.is_none() {
                        prop_assert!(!found);
                    }
                }
                Step::Refresh { handle } => {
                    handles[handle].refresh();
                    there.values_mut().for_each(|known| known[handle] = true);
                }
                Step::Reopen { handle } => {
                    handles[handle] = root.open();
                    there.values_mut().for_each(|known| known[handle] = true);
                }
                Step::Damage { .. } | Step::Tear { .. } => {
                    handles.clear();
                    let file = match step {
                        Step::Damage { file, .. } | Step::Tear { file, .. } => some_log_file(&root, file),
                        _ => None,
                    };
                    if let Some(file) = file {
                        let mut bytes = fs::read(&file).unwrap();
                        match step {
                            Step::Damage { position, difference, .. } if !bytes.is_empty() => {
                                let position = position % bytes.len();
                                bytes[position] ^= difference;
                            }
                            Step::Tear { kept, .. } => bytes.truncate(kept % (bytes.len() + 1)),
                            _ => {}
                        }
                        fs::write(&file, bytes).unwrap();
                        is_damaged = true;
                    }
                    handles.extend((0..HANDLES).map(|_| root.open()));
                }
            }
        }
        drop(handles);
        let last = root.open();
        let found = count_right(&last, 0..40);
        if !is_damaged {
            prop_assert_eq!(found, there.len());
        }
        // Whatever happened, it takes and gives all of them.
        for number in 0..40 {
            if count_right(&last, [number]) == 0 {
                fill(&last, [number]);
            }
        }
        prop_assert_eq!(count_right(&last, 0..40), 40);
        drop(last);
        prop_assert_eq!(count_right(&root.open(), 0..40), 40);
    }
}
