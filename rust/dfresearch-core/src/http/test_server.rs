//! A small HTTP/1.1 server on this machine whose answers, and faults, a test decides.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{HttpClient, HttpSettings};
use crate::stop::StopFlag;

const STEP: Duration = Duration::from_millis(10);

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Path and query.
    pub target: String,
    /// The number of the connection that it came on.
    pub connection: usize,
    headers: Vec<(String, String)>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The bytes that are asked for of a file of a size.
    pub fn range(&self, size: u64) -> Option<Range<u64>> {
        let (first, last) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        let end = if last.is_empty() { size } else { size.min(last.parse::<u64>().unwrap() + 1) };
        Some(first.parse().unwrap()..end)
    }
}

/// What goes wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// The connection ends after so many bytes.
    Short(usize),
    /// The connection is reset after so many bytes.
    Reset(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub fault: Option<Fault>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), fault: None }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, "moved").with("Location", location)
    }

    /// A file, as a server gives it that honours `Range` and `If-Range`.
    pub fn file(request: &Received, content: &[u8], tag: Option<&str>) -> Self {
        let size = content.len() as u64;
        let answer = |status, body: &[u8]| {
            let answer = Self::new(status, body);
            if let Some(tag) = tag { answer.with("ETag", tag) } else { answer }
        };
        let changed = request.header("if-range").is_some_and(|wanted| Some(wanted) != tag);
        match request.range(size) {
            Some(range) if !changed && range.start >= size => {
                answer(416, b"").with("Content-Range", format!("bytes */{size}"))
            }
            Some(range) if !changed => {
                let part = format!("bytes {}-{}/{size}", range.start, range.end - 1);
                answer(206, &content[range.start as usize..range.end as usize]).with("Content-Range", part)
            }
            _ => answer(200, content),
        }
    }
}

type Handler = dyn Fn(&Received, usize) -> Answer + Send + Sync;

/// The server; it ends with the value.
pub(crate) struct TestServer {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    ended: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Serves with `handler`, which is told how many requests came before.
    pub fn start(handler: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (log, end, handler) =
            (Arc::clone(&received), Arc::clone(&ended), Arc::new(handler) as Arc<Handler>);
        let listener = thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in socket.incoming() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let (log, end, handler) = (Arc::clone(&log), Arc::clone(&end), Arc::clone(&handler));
                let number = connections.len();
                connections
                    .push(thread::spawn(move || serve(stream.unwrap(), number, &log, &end, &*handler)));
            }
            for connection in connections {
                connection.join().unwrap();
            }
        });
        Self { address, received, ended, listener: Some(listener) }
    }

    /// Gives the answers of a list in their order, and the last one again and again.
    pub fn scripted(answers: Vec<Answer>) -> Self {
        Self::start(move |_, earlier| answers[earlier.min(answers.len() - 1)].clone())
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// The same server under a name that is another host.
    pub fn other_host(&self, target: &str) -> String {
        format!("http://localhost:{}{target}", self.address.port())
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        let ended = self.listener.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

fn serve(
    mut stream: TcpStream,
    number: usize,
    log: &Mutex<Vec<Received>>,
    ended: &AtomicBool,
    handler: &Handler,
) {
    stream.set_read_timeout(Some(STEP)).unwrap();
    stream.set_nodelay(true).unwrap();
    while let Some(request) = receive(&mut stream, number, ended) {
        let earlier = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let answer = handler(&request, earlier);
        let mut head = format!("HTTP/1.1 {} Something\r\n", answer.status);
        if !answer.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
            write!(head, "Content-Length: {}\r\n", answer.body.len()).unwrap();
        }
        for (name, value) in &answer.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let sent = match answer.fault {
            Some(Fault::Short(sent) | Fault::Reset(sent) | Fault::Stall(sent)) => sent.min(answer.body.len()),
            None => answer.body.len(),
        };
        // A client may go away at any time.
        let written = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer.body[..sent]));
        match answer.fault {
            _ if written.is_err() => return,
            None => {
                // The byte that was left for a reset.
                let _ = stream.read(&mut [0]);
            }
            // A socket that is closed before all was read of it is reset.
            Some(Fault::Reset(_)) => return,
            Some(Fault::Short(_)) => {
                let _ = stream.read(&mut [0]);
                return;
            }
            Some(Fault::Stall(_)) => {
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(STEP);
                }
                return;
            }
        }
    }
}

/// The next request, but for its very last byte, which is left unread; none when the client or the test is done.
fn receive(stream: &mut TcpStream, connection: usize, ended: &AtomicBool) -> Option<Received> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => head.push(byte[0]),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if ended.load(Ordering::Relaxed) {
                    return None;
                }
            }
            Err(_) => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim().lines();
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect();
    Some(Received { target, connection, headers })
}

/// A client that is patient in milliseconds.
pub(crate) fn client() -> HttpClient {
    client_until(StopFlag::default())
}

pub(crate) fn client_until(stop: StopFlag) -> HttpClient {
    let settings = HttpSettings {
        connect_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_millis(300),
        attempts: 4,
        first_delay: Duration::from_millis(1),
    };
    HttpClient::new(settings, stop)
}

/// Bytes that are nowhere alike.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
