#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Cursor, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::http::test_server::{Answer, Fault, TestServer, client, client_until, noise};
use crate::hub::Checksum;
use crate::stop::StopFlag;

const BLOCK: usize = BLOCK_BYTES as usize;
const TAG: Option<&str> = Some("\"tag\"");

/// Counts, and forbids what is over a limit.
struct Budget {
    written: AtomicU64,
    limit: u64,
}

impl Meter for Budget {
    fn add(&self, bytes: u64) -> Result<()> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            return Err(Error::argument("max_disk_gb", "the limit is reached"));
        }
        Ok(())
    }
}

/// A place for a part, and what is fetched into it.
struct Place {
    folder: TempDir,
    meter: Arc<Budget>,
    entry: RemoteEntry,
}

impl Place {
    fn new(content: &[u8], checksum: Option<Checksum>) -> Self {
        let entry = RemoteEntry { path: "data/a.zip".into(), size: content.len() as u64, checksum };
        let meter = Arc::new(Budget { written: AtomicU64::new(0), limit: u64::MAX });
        Self { folder: tempfile::tempdir().unwrap(), meter, entry }
    }

    fn part(&self) -> PathBuf {
        self.folder.path().join("a.zip.part")
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("a.zip.part.blocks")
    }

    fn open(&self, server: &TestServer) -> RemoteFile {
        self.open_by(&client(), Request::new(server.url("/a.zip?Signature=1")))
    }

    fn open_by(&self, client: &HttpClient, request: Request) -> RemoteFile {
        let meter: Arc<dyn Meter> = Arc::clone(&self.meter) as _;
        RemoteFile::open(client, request, &self.entry, &self.part(), &meter).unwrap()
    }

    fn written(&self) -> u64 {
        self.meter.written.load(Ordering::Relaxed)
    }
}

fn sha256(content: &[u8]) -> Option<Checksum> {
    Some(Checksum::Sha256(Sha256::digest(content).into()))
}

fn serve(content: &[u8], tag: Option<&'static str>) -> TestServer {
    let content = content.to_vec();
    TestServer::start(move |request, _| Answer::file(request, &content, tag))
}

/// The values of `Range` of all requests.
fn ranges(server: &TestServer) -> Vec<String> {
    server.received().iter().map(|request| request.header("range").unwrap_or("all").to_owned()).collect()
}

fn read_all(file: &mut RemoteFile) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut content).map_err(|error| Error::from_io("part", error))?;
    Ok(content)
}

fn read_at(file: &mut RemoteFile, position: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    file.seek(SeekFrom::Start(position as u64)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes
}

fn kind_and_message(error: Error) -> (FetchErrorKind, String) {
    let message = error.to_string();
    match error {
        Error::Fetch { kind, .. } => (kind, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_file_is_one_request() {
    for length in [0, 1, BLOCK - 1, BLOCK, 5 * BLOCK + 17] {
        let content = noise(length);
        let mut blob = format!("blob {length}\0").into_bytes();
        blob.extend(&content);
        for checksum in [None, sha256(&content), Some(Checksum::GitBlob(Sha1::digest(&blob).into()))] {
            let server = serve(&content, TAG);
            let place = Place::new(&content, checksum);
            let mut file = place.open(&server);
            file.fetch_all().unwrap();
            assert_eq!(file.fetched(), length as u64);
            assert_eq!(std::fs::read(place.part()).unwrap(), content);
            assert_eq!(read_all(&mut file).unwrap(), content);
            assert_eq!(ranges(&server), vec!["bytes=0-"; usize::from(length > 0)]);
            assert_eq!(place.written(), length as u64);
            file.remove().unwrap();
            assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn reading_in_order_keeps_one_request_open() {
    let content = noise(9 * BLOCK + 5);
    let server = serve(&content, TAG);
    let place = Place::new(&content, None);
    assert_eq!(read_all(&mut place.open(&server)).unwrap(), content);
    assert_eq!(ranges(&server), ["bytes=0-"]);
}

#[test]
fn a_jump_asks_for_little_and_then_for_more() {
    let content = noise(30 * BLOCK);
    let server = serve(&content, TAG);
    let place = Place::new(&content, None);
    let mut file = place.open(&server);
    let block = |number: usize| number * BLOCK;
    let asked = |first: usize, end: usize| format!("bytes={}-{}", block(first), block(end) - 1);

    assert_eq!(read_at(&mut file, block(30) - 8, 8), content[block(30) - 8..]);
    assert_eq!(read_at(&mut file, block(3) + 7, 6 * BLOCK), content[block(3) + 7..block(9) + 7]);
    // The last block is there, so nothing is asked for beyond the block before it.
    assert_eq!(read_at(&mut file, block(28), 2 * BLOCK), content[block(28)..]);
    let expected =
        vec![format!("bytes={}-", block(29)), asked(3, 4), asked(4, 8), asked(8, 24), asked(28, 29)];
    assert_eq!(ranges(&server), expected);
    // Requests that end where the reading does use the same connection again.
    let connections: Vec<usize> = server.received().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 0, 1]);
}

#[test]
fn what_is_wanted_soon_is_fetched_in_runs() {
    let content = noise(10 * BLOCK + 100);
    let server = serve(&content, TAG);
    let place = Place::new(&content, None);
    let mut file = place.open(&server);
    let at = |block: u64, offset: u64| block * BLOCK_BYTES + offset;
    let wanted = [
        at(7, 5)..at(7, 6),
        at(1, BLOCK_BYTES - 1)..at(2, 1),
        at(3, 0)..at(3, 10),
        at(3, 5)..at(3, 20),
        at(5, 9)..at(5, 9),
        at(10, 50)..u64::MAX,
        u64::MAX - 1..u64::MAX,
    ];
    file.prefetch(&wanted).unwrap();
    let expected = [
        format!("bytes={}-{}", at(1, 0), at(4, 0) - 1),
        format!("bytes={}-{}", at(7, 0), at(8, 0) - 1),
        format!("bytes={}-", at(10, 0)),
    ];
    assert_eq!(ranges(&server), expected);
    assert_eq!(file.fetched(), 4 * BLOCK_BYTES + 100);
    for range in &wanted[..4] {
        let (start, end) = (range.start as usize, range.end as usize);
        assert_eq!(read_at(&mut file, start, end - start), content[start..end]);
    }
    file.prefetch(&wanted).unwrap();
    assert_eq!(ranges(&server).len(), 3, "nothing is asked for twice");
    assert_eq!(read_all(&mut file).unwrap(), content);
}

#[test]
fn broken_connections_go_on_where_they_were() {
    let content = noise(4 * BLOCK + 3);
    for fault in [Fault::Short as fn(usize) -> Fault, Fault::Reset, Fault::Stall] {
        let served = content.clone();
        let server = TestServer::start(move |request, earlier| {
            let answer = Answer::file(request, &served, TAG);
            if earlier < 5 { answer.fault(fault(BLOCK / 2 + earlier)) } else { answer }
        });
        let place = Place::new(&content, sha256(&content));
        let mut file = place.open(&server);
        file.fetch_all().unwrap();
        assert_eq!(read_all(&mut file).unwrap(), content);
        assert_eq!(server.received().len(), 6);
        assert_eq!(place.written(), content.len() as u64);
        for request in &server.received()[1..] {
            assert_eq!(request.header("if-range"), TAG);
        }
    }
}

#[test]
fn a_server_that_always_breaks_off_is_given_up() {
    let content = noise(BLOCK);
    let served = content.clone();
    let server =
        TestServer::start(move |request, _| Answer::file(request, &served, TAG).fault(Fault::Short(0)));
    let place = Place::new(&content, None);
    let (kind, message) = kind_and_message(place.open(&server).fetch_all().unwrap_err());
    assert_eq!(kind, FetchErrorKind::Unavailable);
    assert!(message.contains("4 attempts") && !message.contains("Signature"), "{message}");
    assert_eq!(server.received().len(), 4);
}

#[test]
fn the_next_process_asks_for_what_is_missing() {
    let content = noise(8 * BLOCK + 9);
    let server = serve(&content, TAG);
    let place = Place::new(&content, sha256(&content));
    let mut file = place.open(&server);
    file.prefetch(&[0..3 * BLOCK_BYTES, 5 * BLOCK_BYTES..6 * BLOCK_BYTES]).unwrap();
    drop(file);
    let earlier = ranges(&server).len();

    // Another signature is the same file.
    let mut file = place.open_by(&client(), Request::new(server.url("/a.zip?Signature=2")));
    assert_eq!(file.fetched(), 4 * BLOCK_BYTES);
    file.fetch_all().unwrap();
    assert_eq!(read_all(&mut file).unwrap(), content);
    let expected = [format!("bytes={}-{}", 3 * BLOCK, 5 * BLOCK - 1), format!("bytes={}-", 6 * BLOCK)];
    assert_eq!(ranges(&server)[earlier..], expected);
    assert!(server.received()[earlier..].iter().all(|request| request.header("if-range") == TAG));
    assert_eq!(place.written(), content.len() as u64);

    drop(file);
    let mut file = place.open(&server);
    file.fetch_all().unwrap();
    assert_eq!(ranges(&server).len(), earlier + 2, "all of it is there");
}

#[test]
fn what_the_disk_lost_is_fetched_again() {
    let content = noise(4 * BLOCK);
    let fetched = |place: &Place, server: &TestServer| {
        place.open(server).fetch_all().unwrap();
        assert_eq!(place.open(server).fetched(), content.len() as u64);
    };
    let damage = |path: &Path, position: u64| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"damage", position).unwrap();
    };
    let journal_length = |place: &Place| std::fs::metadata(place.journal()).unwrap().len();
    let cut = |path: &Path, length: u64| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap()
    };

    type Damage<'a> = &'a dyn Fn(&Place);
    let cases: [(&str, usize, Damage<'_>); 7] = [
        ("a block", 1, &|place| damage(&place.part(), 2 * BLOCK_BYTES + 5)),
        ("the end of a record", 1, &|place| cut(&place.journal(), journal_length(place) - 7)),
        ("two records", 2, &|place| damage(&place.journal(), journal_length(place) - 32)),
        ("the header", 4, &|place| damage(&place.journal(), 3)),
        ("the journal", 4, &|place| std::fs::remove_file(place.journal()).unwrap()),
        ("an empty journal", 4, &|place| cut(&place.journal(), 0)),
        ("the end of the part", 4, &|place| cut(&place.part(), BLOCK_BYTES)),
    ];
    for (what, lost, damage) in cases {
        let server = serve(&content, TAG);
        let place = Place::new(&content, sha256(&content));
        fetched(&place, &server);
        damage(&place);
        let earlier = place.written();
        let mut file = place.open(&server);
        assert_eq!(read_all(&mut file).unwrap(), content, "{what}");
        file.fetch_all().unwrap();
        assert_eq!(place.written() - earlier, (lost * BLOCK) as u64, "{what}");
        // And it is written down again.
        fetched(&place, &server);
        assert_eq!(place.written() - earlier, (lost * BLOCK) as u64, "{what}");
    }
}

#[test]
fn another_file_is_begun_anew() {
    let (old, new) = (noise(2 * BLOCK), noise(3 * BLOCK)[BLOCK..].to_vec());
    let place = Place::new(&old, sha256(&old));
    place.open(&serve(&old, TAG)).fetch_all().unwrap();
    // Another port is another address; another checksum would be enough as well.
    let other = Place { entry: RemoteEntry { checksum: sha256(&new), ..place.entry.clone() }, ..place };
    let server = serve(&new, TAG);
    let mut file = other.open(&server);
    assert_eq!(file.fetched(), 0);
    assert_eq!(read_all(&mut file).unwrap(), new);
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let content = noise(6 * BLOCK + 1);
    let served = content.clone();
    let server = TestServer::start(move |_, _| Answer::new(200, served.clone()));
    let place = Place::new(&content, sha256(&content));
    let mut file = place.open(&server);
    assert_eq!(read_at(&mut file, 4 * BLOCK + 10, 20), content[4 * BLOCK + 10..4 * BLOCK + 30]);
    // What passed on the way was kept.
    assert_eq!(read_at(&mut file, BLOCK, BLOCK), content[BLOCK..2 * BLOCK]);
    assert_eq!(read_at(&mut file, 6 * BLOCK, 1), content[6 * BLOCK..]);
    assert_eq!(read_all(&mut file).unwrap(), content);
    assert_eq!(server.received().len(), 1);
    assert_eq!(place.written(), content.len() as u64);
}

#[test]
fn a_server_that_ignores_ranges_and_breaks_off_is_survived() {
    let content = noise(3 * BLOCK);
    let served = content.clone();
    let server = TestServer::start(move |_, earlier| {
        let answer = Answer::new(200, served.clone());
        if earlier < 3 { answer.fault(Fault::Short(BLOCK / 2 * (earlier + 1))) } else { answer }
    });
    let place = Place::new(&content, sha256(&content));
    let mut file = place.open(&server);
    file.fetch_all().unwrap();
    assert_eq!(read_all(&mut file).unwrap(), content);
    assert_eq!(place.written(), content.len() as u64);
}

#[test]
fn a_body_that_is_compressed_all_the_same_is_stored_as_it_is_meant() {
    let content = noise(2 * BLOCK + 5);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&content).unwrap();
    let compressed = encoder.finish().unwrap();
    let served = content.clone();
    for status in [200, 206] {
        let (served, compressed) = (served.clone(), compressed.clone());
        let server = TestServer::start(move |request, earlier| match earlier {
            0 => Answer { status, body: compressed.clone(), ..Answer::file(request, &served, TAG) }
                .with("Content-Encoding", "gzip"),
            _ => Answer::file(request, &served, TAG),
        });
        let place = Place::new(&content, sha256(&content));
        let mut file = place.open(&server);
        file.fetch_all().unwrap();
        assert_eq!(read_all(&mut file).unwrap(), content);
    }
}

#[test]
fn content_that_changed_is_noticed() {
    let (old, new) = (noise(4 * BLOCK), noise(5 * BLOCK)[BLOCK..].to_vec());
    type Change = fn(&crate::http::test_server::Received, &[u8]) -> Answer;
    let changes: [(&str, Change); 6] = [
        ("another tag, and all of it for If-Range", |request, new| {
            Answer::file(request, new, Some("\"new\""))
        }),
        ("another tag, and a part all the same", |request, new| {
            let size = new.len() as u64;
            let range = request.range(size).unwrap();
            let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            Answer::new(206, &new[range.start as usize..range.end as usize])
                .with("ETag", "\"new\"")
                .with("Content-Range", part)
        }),
        ("another size", |request, new| Answer::file(request, &new[..new.len() - 1], TAG)),
        ("a much smaller size", |_, _| Answer::new(416, "").with("Content-Range", "bytes */3")),
        ("another version", |_, _| Answer::new(412, "")),
        ("another checksum beside it", |request, new| {
            Answer::file(request, new, TAG).with("X-Linked-Etag", format!("\"{}\"", "00".repeat(32)))
        }),
    ];
    for (what, change) in changes {
        // Bytes were read: they cannot be taken back, so it is an error, and stays one.
        let (before, after) = (old.clone(), new.clone());
        let server = TestServer::start(move |request, earlier| match earlier {
            0 => Answer::file(request, &before, TAG),
            _ => change(request, &after),
        });
        let place = Place::new(&old, sha256(&old));
        let mut file = place.open(&server);
        file.prefetch(&[0..1]).unwrap();
        assert_eq!(read_at(&mut file, 0, 10), old[..10]);
        for _ in 0..2 {
            let (kind, message) = kind_and_message(read_all(&mut file).unwrap_err());
            assert_eq!(kind, FetchErrorKind::Invalid, "{what}");
            assert!(message.contains("not the pinned one"), "{message}");
        }
        assert_eq!(file.fetched(), 0);
        assert!(!place.journal().exists());

        // Nothing was read: it is begun anew once. A server that has changed for good has changed the second time.
        let (before, after) = (old.clone(), new.clone());
        let server = TestServer::start(move |request, earlier| match earlier {
            1 => change(request, &after),
            _ => Answer::file(request, &before, TAG),
        });
        let place = Place::new(&old, sha256(&old));
        let mut file = place.open(&server);
        file.prefetch(&[0..1]).unwrap();
        file.fetch_all().unwrap();
        assert_eq!(read_all(&mut file).unwrap(), old, "{what}");
    }
}

#[test]
fn a_tag_alone_does_not_count_where_the_hub_vouches() {
    let content = noise(4 * BLOCK);
    let checksum = sha256(&content);
    let linked = format!("\"{}\"", checksum.unwrap().to_hex());
    let storage = |tag: &'static str| serve(&content, Some(tag));
    let (first, second) = (storage("\"one\""), storage("\"two\""));
    let locations = [first.other_host("/x"), second.other_host("/x")];
    let size = content.len().to_string();
    let hub = TestServer::start(move |_, earlier| {
        Answer::redirect(302, &locations[earlier.min(1)])
            .with("X-Linked-Etag", linked.clone())
            .with("X-Linked-Size", size.clone())
    });
    let place = Place::new(&content, checksum);
    let mut file = place.open(&hub);
    file.prefetch(&[0..1]).unwrap();
    assert_eq!(read_at(&mut file, 0, 9), content[..9]);
    assert_eq!(read_all(&mut file).unwrap(), content);
    drop(file);
    let mut file = place.open(&hub);
    file.fetch_all().unwrap();
    assert_eq!(place.written(), content.len() as u64);
    assert_eq!(second.received()[0].header("if-range"), Some("\"one\""));
}

#[test]
fn a_wrong_checksum_is_fetched_anew_once() {
    let content = noise(2 * BLOCK);
    let mut wrong = content.clone();
    wrong[BLOCK + 1] ^= 1;
    for mends in [true, false] {
        let (good, bad) = (content.clone(), wrong.clone());
        let server = TestServer::start(move |request, earlier| {
            Answer::file(request, if mends && earlier > 0 { &good } else { &bad }, TAG)
        });
        let place = Place::new(&content, sha256(&content));
        let mut file = place.open(&server);
        if mends {
            file.fetch_all().unwrap();
            assert_eq!(read_all(&mut file).unwrap(), content);
        } else {
            let (kind, message) = kind_and_message(file.fetch_all().unwrap_err());
            assert_eq!(kind, FetchErrorKind::Invalid);
            assert!(message.contains("checksum"), "{message}");
            assert!(file.read(&mut [0]).is_err());
        }
        assert_eq!(server.received().len(), 2);
    }
}

#[test]
fn the_budget_is_asked_before_anything_is_written() {
    let content = noise(4 * BLOCK);
    let server = serve(&content, TAG);
    let mut place = Place::new(&content, None);
    place.meter = Arc::new(Budget { written: AtomicU64::new(0), limit: 2 * BLOCK_BYTES });
    let mut file = place.open(&server);
    assert!(matches!(file.fetch_all(), Err(Error::Argument { argument: "max_disk_gb", .. })));
    assert_eq!(file.fetched(), 2 * BLOCK_BYTES);
    drop(file);
    assert_eq!(place.open(&server).fetched(), 2 * BLOCK_BYTES);
}

#[test]
fn a_request_to_stop_ends_a_silent_read() {
    let content = noise(2 * BLOCK);
    let served = content.clone();
    let server = TestServer::start(move |request, _| {
        Answer::file(request, &served, TAG).fault(Fault::Stall(BLOCK + 10))
    });
    let hour = Duration::from_secs(3600);
    let settings = crate::http::HttpSettings { stall_timeout: hour, ..Default::default() };
    let stop = StopFlag::default();
    let client = HttpClient::new(settings, stop.clone());
    let place = Place::new(&content, None);
    let mut file = place.open_by(&client, Request::new(server.url("/a.zip")));
    let begun = Instant::now();
    let reader = thread::spawn(move || read_all(&mut file));
    thread::sleep(Duration::from_millis(200));
    stop.stop();
    assert!(matches!(reader.join().unwrap(), Err(Error::Stopped)));
    assert!(begun.elapsed() < Duration::from_secs(20));
    // What came before is kept.
    assert_eq!(place.open_by(&client_until(stop), Request::new(server.url("/a.zip"))).fetched(), BLOCK_BYTES);
}

#[test]
fn a_refusal_is_told_as_it_is() {
    let content = noise(BLOCK);
    for (status, kind) in [(403, FetchErrorKind::Gated), (404, FetchErrorKind::NotFound)] {
        let server = TestServer::scripted(vec![Answer::new(status, "")]);
        let place = Place::new(&content, None);
        let error = read_all(&mut place.open(&server)).unwrap_err();
        assert_eq!(kind_and_message(error).0, kind);
    }
}

#[test]
fn positions_before_the_start_are_refused() {
    let content = noise(100);
    let server = serve(&content, TAG);
    let place = Place::new(&content, None);
    let mut file = place.open(&server);
    assert_eq!(file.seek(SeekFrom::End(-10)).unwrap(), 90);
    assert!(file.seek(SeekFrom::Current(-91)).is_err());
    assert_eq!(file.stream_position().unwrap(), 90);
    assert_eq!(file.seek(SeekFrom::Start(1000)).unwrap(), 1000);
    assert_eq!(file.read(&mut [0; 5]).unwrap(), 0);
    assert!(server.received().is_empty());
}

#[test]
fn a_file_can_go_to_another_thread() {
    fn goes<T: Send>() {}
    goes::<RemoteFile>();
}

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
        let log = Arc::new(Mutex::new(0u64));
        let server = TestServer::start(move |request, earlier| {
            match faults[earlier % faults.len()] {
                None => Answer::file(request, &served, tag),
                Some((ignores_range, fault)) => {
                    let status = if ignores_range { 200 } else { 0 };
                    let answer = if status == 200 { Answer::new(200, served.clone()) } else { Answer::file(request, &served, tag) };
                    let answer = if ignores_range && tag.is_some() { answer.with("ETag", "\"tag\"") } else { answer };
                    answer.fault(fault)
                }
            }
        });
        drop(log);
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
                    file.prefetch(&[start as u64..(start + length) as u64]).unwrap();
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
