//! Any order of reads over any network.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Read(usize),
    Seek(usize),
    SeekBack(usize),
    Prefetch(usize, usize),
    Reopen,
}

fn steps(size: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..2 * BLOCK).prop_map(Step::Read),
        3 => (0..size + 10).prop_map(Step::Seek),
        1 => (0..size).prop_map(Step::SeekBack),
        1 => (0..size, 0..3 * BLOCK).prop_map(|(start, length)| Step::Prefetch(start, length)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..25)
}

/// What goes wrong with each request, again and again; the last one does not, so that something comes.
fn faults() -> impl Strategy<Value = Vec<Option<(bool, Fault)>>> {
    let fault = prop_oneof![
        4 => Just(None),
        2 => (0..3 * BLOCK).prop_map(|sent| Some((false, Fault::Short(sent)))),
        2 => (0..3 * BLOCK).prop_map(|sent| Some((false, Fault::Reset(sent)))),
        1 => (0..3 * BLOCK).prop_map(|sent| Some((true, Fault::Short(sent)))),
    ];
    prop::collection::vec(fault, 0..3).prop_map(|mut faults| {
        faults.push(None);
        faults
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is read, in whatever order, over whatever connections: the bytes are those of the file.
    #[test]
    fn any_reading_over_any_network_gives_the_bytes(
        size in 1..6 * BLOCK,
        steps in steps(6 * BLOCK),
        faults in faults(),
        tagged in any::<bool>(),
    ) {
        let content = noise(size);
        let served = content.clone();
        let tag = TAG.filter(|_| tagged);
        let server = TestServer::start(move |request, earlier| {
            match faults[earlier % faults.len()] {
                None => Answer::file(request, &served, tag),
                Some((ignores_range, fault)) => {
                    let answer = Answer::file(request, &served, tag);
                    let whole = Answer { status: 200, body: served.clone(), ..answer.clone() };
                    if ignores_range { whole.fault(fault) } else { answer.fault(fault) }
                }
            }
        });
        let place = Place::new(&content, sha256(&content));
        let mut file = place.open(&server);
        let mut truth = Cursor::new(&content);
        for step in steps {
            match step {
                Step::Read(length) => {
                    let mut bytes = Vec::new();
                    let mut expected = Vec::new();
                    Read::by_ref(&mut file).take(length as u64).read_to_end(&mut bytes).unwrap();
                    Read::by_ref(&mut truth).take(length as u64).read_to_end(&mut expected).unwrap();
                    prop_assert!(bytes == expected, "{length} bytes at {}", truth.position());
                }
                Step::Seek(position) => {
                    file.seek(SeekFrom::Start(position as u64)).unwrap();
                    truth.seek(SeekFrom::Start(position as u64)).unwrap();
                }
                Step::SeekBack(distance) => {
                    let to = SeekFrom::End(-(distance as i64));
                    prop_assert_eq!(file.seek(to).ok(), truth.seek(to).ok());
                }
                Step::Prefetch(start, length) => {
                    let range = start as u64..(start + length) as u64;
                    file.prefetch(std::slice::from_ref(&range)).unwrap();
                }
                Step::Reopen => {
                    drop(file);
                    file = place.open(&server);
                    file.seek(SeekFrom::Start(truth.position())).unwrap();
                }
            }
        }
        file.fetch_all().unwrap();
        prop_assert!(std::fs::read(place.part()).unwrap() == content);
        prop_assert_eq!(place.written(), size as u64, "no block is written twice");
    }
}
