#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any_reading;
mod changed_content;
mod resuming;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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
