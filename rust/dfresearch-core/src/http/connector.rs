//! Connections that never wait longer than they may, and that let go when somebody asks to stop.
//!
//! ```text
//!  name ──► WatchedResolver ──► (CONNECT through a proxy) ──► WatchedConnector ──► (TLS) ──► HTTP
//!           a thread asks       ureq's                        a thread connects;
//!           the system                                        every read and write waits in steps
//! ```
//!
//! ureq limits phases as a whole, or one read; a limit of the whole would end large downloads, and one read blocks until it
//! is over. So the socket waits in short steps below TLS, where a step that ends without a byte leaves no state behind.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
};
use ureq::{Timeout, config::Config};

use crate::error::Error;
use crate::stop::StopFlag;

/// How long one wait on a socket or a thread lasts at most before the stop flag is looked at.
const STEP: Duration = Duration::from_millis(100);

/// How many addresses of one host are tried.
const MAX_ADDRESSES: usize = 16;

/// Asks the system for a host's addresses, in a thread that can be left behind.
#[derive(Debug)]
pub(super) struct WatchedResolver {
    pub stop: StopFlag,
}

impl Resolver for WatchedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        // An IPv6 address stands in brackets in an address of the web, and without them in the system's calls.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let found = in_a_thread(&self.stop, timeout, move || {
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
        })??;
        let mut addresses = self.empty();
        for address in config.ip_family().keep_wanted(found.into_iter()).take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// Opens TCP connections that wait in steps.
#[derive(Debug)]
pub(super) struct WatchedConnector {
    pub stop: StopFlag,
    /// How long all addresses of a host together may take.
    pub connect_timeout: Duration,
    /// No byte for so long ends a connection.
    pub stall_timeout: Duration,
}

impl<In: Transport> Connector<In> for WatchedConnector {
    type Out = Either<In, WatchedTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        // A way through a proxy, which was opened by another call of this connector.
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let stream = self.open(&details.addrs, details.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(STEP))?;
        stream.set_write_timeout(Some(STEP))?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        let stop = self.stop.clone();
        Ok(Some(Either::B(WatchedTransport { stream, buffers, stop, stall_timeout: self.stall_timeout })))
    }
}

impl WatchedConnector {
    /// Tries one address after the other; what is left of the time is shared by those that are left.
    fn open(&self, addresses: &[SocketAddr], timeout: NextTimeout) -> Result<TcpStream, ureq::Error> {
        let end = Instant::now() + Duration::min(*timeout.after, self.connect_timeout);
        let mut last = ureq::Error::HostNotFound;
        for (position, &address) in addresses.iter().enumerate() {
            let left = end.saturating_duration_since(Instant::now());
            let share = left / (addresses.len() - position) as u32;
            let limit = NextTimeout { after: share.max(STEP).into(), reason: timeout.reason, ..timeout };
            match in_a_thread(&self.stop, limit, move || {
                TcpStream::connect_timeout(&address, share.max(STEP))
            }) {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if error.kind() == ErrorKind::TimedOut => {
                    last = ureq::Error::Timeout(Timeout::Connect);
                }
                Ok(Err(error)) => last = error.into(),
                Err(error @ ureq::Error::Timeout(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }
}

/// A TCP connection that waits in steps.
pub(super) struct WatchedTransport {
    stream: TcpStream,
    buffers: LazyBuffers,
    stop: StopFlag,
    stall_timeout: Duration,
}

impl std::fmt::Debug for WatchedTransport {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WatchedTransport").field("address", &self.stream.peer_addr().ok()).finish()
    }
}

impl Transport for WatchedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut left = &self.buffers.output()[..amount];
        let mut wait = Wait::new(&self.stop, timeout, self.stall_timeout);
        while !left.is_empty() {
            match (&self.stream).write(left) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::WriteZero).into()),
                Ok(written) => {
                    left = &left[written..];
                    wait = Wait::new(&self.stop, timeout, self.stall_timeout);
                }
                Err(error) => wait.go_on(error)?,
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let wait = Wait::new(&self.stop, timeout, self.stall_timeout);
        wait.check()?;
        let amount = loop {
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(amount) => break amount,
                Err(error) => wait.go_on(error)?,
            }
        };
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // An idle connection has nothing to say: a byte or an end means that it is of no more use.
        let mut byte = [0];
        let idle = self.stream.set_nonblocking(true).is_ok()
            && matches!((&self.stream).read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        idle && self.stream.set_nonblocking(false).is_ok()
    }
}

/// The limits of one wait for bytes.
struct Wait<'a> {
    stop: &'a StopFlag,
    begun: Instant,
    limit: Duration,
    reason: Timeout,
}

impl<'a> Wait<'a> {
    fn new(stop: &'a StopFlag, timeout: NextTimeout, stall_timeout: Duration) -> Self {
        let (limit, reason) = if *timeout.after < stall_timeout {
            (*timeout.after, timeout.reason)
        } else {
            (stall_timeout, Timeout::PerRead)
        };
        Self { stop, begun: Instant::now(), limit, reason }
    }

    fn check(&self) -> Result<(), ureq::Error> {
        self.stop.check().map_err(stopped)?;
        if self.begun.elapsed() >= self.limit { Err(ureq::Error::Timeout(self.reason)) } else { Ok(()) }
    }

    /// Goes on after a step that ended without a byte.
    fn go_on(&self, error: std::io::Error) -> Result<(), ureq::Error> {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => self.check(),
            _ => Err(error.into()),
        }
    }
}

/// Runs a call of the system that cannot be interrupted; when it takes too long or somebody asks to stop, it is left behind.
fn in_a_thread<T: Send + 'static>(
    stop: &StopFlag,
    timeout: NextTimeout,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ureq::Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::Builder::new().name("connect".into()).spawn(move || sender.send(call()).ok())?;
    let begun = Instant::now();
    loop {
        stop.check().map_err(stopped)?;
        let left = timeout.after.saturating_sub(begun.elapsed());
        match receiver.recv_timeout(left.min(STEP)) {
            Ok(result) => return Ok(result),
            Err(mpsc::RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(ureq::Error::Timeout(timeout.reason)),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ureq::Error::ConnectionFailed),
        }
    }
}

fn stopped(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}
