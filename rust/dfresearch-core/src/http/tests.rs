#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::test_server::{Answer, Fault, TestServer, client, client_until, noise};
use super::*;

/// Long enough to tell a hang from a slow machine.
const A_HANG: Duration = Duration::from_secs(20);

fn text(client: &HttpClient, request: &Request) -> Result<String> {
    let mut content = String::new();
    let mut response = client.get(request)?;
    response.body.read_to_string(&mut content).map_err(|error| Error::from_io("body", error))?;
    Ok(content)
}

fn kind_and_message(error: Error) -> (FetchErrorKind, String) {
    let message = error.to_string();
    match error {
        Error::Fetch { kind, .. } => (kind, message),
        other => panic!("{other:?}"),
    }
}

fn with_token(url: String) -> Request {
    Request { headers: vec![("Authorization".into(), "Bearer secret".into())], ..Request::new(url) }
}

#[test]
fn redirects_on_the_same_host_keep_the_token() {
    for status in [301, 302, 303, 307, 308] {
        let answers = vec![Answer::redirect(status, "../b?x=1"), Answer::new(200, "there")];
        let server = TestServer::scripted(answers);
        assert_eq!(text(&client(), &with_token(server.url("/a/a"))).unwrap(), "there");
        let [first, second] = server.received().try_into().unwrap();
        assert_eq!((first.target.as_str(), second.target.as_str()), ("/a/a", "/b?x=1"));
        assert_eq!(second.header("authorization"), Some("Bearer secret"));
        assert_eq!(second.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn the_token_never_leaves_its_host_and_does_not_come_back() {
    let server = TestServer::start(|request, _| match request.target.as_str() {
        "/a" => {
            let port = request.header("host").unwrap().rsplit_once(':').unwrap().1.to_owned();
            Answer::redirect(302, &format!("http://localhost:{port}/b?Signature=s3cr3t"))
                .with("X-Linked-Etag", "\"e\"")
        }
        "/b?Signature=s3cr3t" => {
            let port = request.header("host").unwrap().rsplit_once(':').unwrap().1.to_owned();
            Answer::redirect(302, &format!("http://127.0.0.1:{port}/c"))
        }
        _ => Answer::new(200, "there"),
    });
    let mut request = with_token(server.url("/a"));
    request.headers.push(("Cookie".into(), "m_session_id=secret".into()));
    request.headers.push(("If-Match".into(), "\"x\"".into()));
    request.range = Some(0..5);
    let response = client().get(&request).unwrap();
    assert_eq!(response.redirect_header("x-linked-etag"), Some("\"e\""));
    assert_eq!(response.final_url, server.url("/c"));
    let received = server.received();
    assert_eq!(received.len(), 3);
    for request in &received {
        assert_eq!(request.header("if-match"), Some("\"x\""));
        assert_eq!(request.header("range"), Some("bytes=0-4"));
    }
    assert_eq!(received[0].header("cookie"), Some("m_session_id=secret"));
    for request in &received[1..] {
        assert!(request.header("authorization").is_none() && request.header("cookie").is_none());
    }
}

#[test]
fn another_port_is_another_host() {
    let other = TestServer::scripted(vec![Answer::new(200, "there")]);
    let server = TestServer::scripted(vec![Answer::redirect(302, &other.url("/x"))]);
    assert_eq!(text(&client(), &with_token(server.url("/"))).unwrap(), "there");
    assert!(other.received()[0].header("authorization").is_none());
}

#[test]
fn a_redirect_loop_ends() {
    let server = TestServer::scripted(vec![Answer::redirect(302, "/a")]);
    let (kind, message) = kind_and_message(client().get(&Request::new(server.url("/a"))).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("redirect loop"), "{message}");
    assert_eq!(server.received().len(), MAX_REDIRECTS + 1);
}

#[test]
fn redirects_lead_to_the_web_only() {
    for location in ["file:///etc/passwd", "ftp://host/x", "http://[broken"] {
        let server = TestServer::scripted(vec![Answer::redirect(302, location)]);
        let (kind, message) = kind_and_message(client().get(&Request::new(server.url("/a"))).unwrap_err());
        assert_eq!(kind, FetchErrorKind::Invalid, "{message}");
        assert_eq!(server.received().len(), 1);
    }
    let headers = |location: &str| HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
    let secure = Url::parse("https://host/a?x").unwrap();
    let refusal = redirect_target(&secure, &headers("http://host/b?secret")).unwrap_err();
    assert!(refusal.contains("without encryption") && !refusal.contains("secret"), "{refusal}");
    assert_eq!(redirect_target(&secure, &headers("//other/b")).unwrap().as_str(), "https://other/b");
}

#[test]
fn too_many_requests_waits_what_the_server_says() {
    let soon = Timestamp::now() + Duration::from_secs(4);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon).unwrap();
    for (name, value, least) in [
        ("Retry-After", "1".to_owned(), Duration::from_secs(1)),
        // A date has no fractions of a second.
        ("Retry-After", date, Duration::from_millis(500)),
        ("X-Nothing", "1".into(), Duration::ZERO),
    ] {
        let server = TestServer::scripted(vec![
            Answer::new(429, "later").with(name, value),
            Answer::new(200, "there"),
        ]);
        let begun = Instant::now();
        assert_eq!(text(&client(), &Request::new(server.url("/"))).unwrap(), "there");
        assert!(begun.elapsed() >= least && begun.elapsed() < A_HANG);
        assert_eq!(server.received().len(), 2);
    }
}

#[test]
fn a_server_that_fails_is_asked_again_but_not_for_ever() {
    let failing = |status| Answer::new(status, "no");
    let server =
        TestServer::scripted(vec![failing(500), failing(502), failing(503), Answer::new(200, "there")]);
    assert_eq!(text(&client(), &Request::new(server.url("/"))).unwrap(), "there");
    assert_eq!(server.received().len(), 4);

    let server = TestServer::scripted(vec![failing(503)]);
    let (kind, message) = kind_and_message(client().get(&Request::new(server.url("/x?secret"))).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Unavailable);
    assert!(message.contains("503") && message.contains("4 attempts"), "{message}");
    assert!(!message.contains("secret"), "{message}");
    assert_eq!(server.received().len(), 4);
}

#[test]
fn a_port_where_nobody_listens_is_unavailable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/x?secret");
    let (kind, message) = kind_and_message(client().get(&Request::new(url)).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Unavailable);
    assert!(message.contains("refused") && !message.contains("secret"), "{message}");
}

#[test]
fn refusals_are_told_apart() {
    use FetchErrorKind::{Gated, Invalid, NotFound};
    let cases = [
        (401, None, false, Gated, "401"),
        (401, None, true, Gated, "401"),
        (403, Some("GatedRepo"), true, Gated, "http://hub/datasets/a/b"),
        (403, Some("GatedRepo"), false, Gated, "HF_TOKEN"),
        (401, Some("RepoNotFound"), false, Gated, "does not exist, or is private: set HF_TOKEN"),
        (401, Some("RepoNotFound"), true, NotFound, "does not exist"),
        (403, Some("EntryNotFound"), true, NotFound, "no such file"),
        (404, Some("EntryNotFound"), false, NotFound, "no such file"),
        (404, Some("RevisionNotFound"), true, NotFound, "no such revision"),
        (404, None, true, NotFound, "404"),
        (410, None, true, NotFound, "410"),
        (400, None, true, Invalid, "400"),
        (416, None, true, Invalid, "416"),
    ];
    for (status, code, token, kind, words) in cases {
        let mut answer = Answer::new(status, "").with("X-Error-Message", "said so, see https://hub/x?secret");
        if let Some(code) = code {
            answer = answer.with("X-Error-Code", code);
        }
        let server = TestServer::scripted(vec![answer]);
        let mut request = Request::new(server.url("/x?secret"));
        if token {
            request = with_token(request.url);
        }
        request.page = Some("http://hub/datasets/a/b".into());
        let (found, message) = kind_and_message(client().get(&request).unwrap_err());
        assert_eq!(found, kind, "{status} {code:?} {token}");
        assert!(message.contains(words), "{message}");
        assert_eq!(message.contains("; see http://hub/datasets/a/b"), kind == Gated, "{message}");
        assert!(!message.contains("secret"), "{message}");
        assert_eq!(server.received().len(), 1, "{status}");
    }
}

#[test]
fn a_signature_that_ran_out_is_asked_for_again() {
    let storage = TestServer::scripted(vec![Answer::new(403, "expired"), Answer::new(200, "there")]);
    let server =
        TestServer::scripted(vec![Answer::redirect(302, &storage.other_host("/x?Signature=s3cr3t"))]);
    assert_eq!(text(&client(), &Request::new(server.url("/"))).unwrap(), "there");
    assert_eq!(server.received().len(), 2);

    let storage = TestServer::scripted(vec![Answer::new(403, "expired")]);
    let server =
        TestServer::scripted(vec![Answer::redirect(302, &storage.other_host("/x?Signature=s3cr3t"))]);
    let (kind, message) = kind_and_message(client().get(&Request::new(server.url("/"))).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Unavailable);
    assert!(message.contains("localhost answers 403") && !message.contains("s3cr3t"), "{message}");
}

#[test]
fn a_body_that_breaks_off_is_an_error_and_asked_for_again() {
    for fault in [Fault::Short(2), Fault::Reset(2), Fault::Stall(2), Fault::Short(0)] {
        let broken = || Answer::new(200, "[1, 2, 3]").fault(fault);
        let server = TestServer::scripted(vec![broken()]);
        let begun = Instant::now();
        let error = text(&client(), &Request::new(server.url("/x?secret"))).unwrap_err();
        let (kind, message) = kind_and_message(error);
        assert_eq!(kind, FetchErrorKind::Unavailable, "{fault:?}");
        assert!(!message.contains("secret"), "{message}");
        assert_eq!(message.contains("no byte came for 0.3 seconds"), fault == Fault::Stall(2), "{message}");
        assert!(begun.elapsed() < A_HANG);

        let server = TestServer::scripted(vec![broken(), broken(), Answer::new(200, "[1, 2, 3]")]);
        let numbers: Vec<u8> = client().get_json(&Request::new(server.url("/"))).unwrap();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(server.received().len(), 3);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let begun = Instant::now();
    let (kind, message) = kind_and_message(client().get(&Request::new(url)).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Unavailable);
    assert!(message.contains("no byte came"), "{message}");
    assert!(begun.elapsed() < A_HANG);
}

#[test]
fn a_slow_body_is_not_a_stall() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").unwrap();
        for byte in b"in steps" {
            thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte]).unwrap();
        }
    });
    let settings = HttpSettings { stall_timeout: Duration::from_secs(5), ..HttpSettings::default() };
    let client = HttpClient::new(settings, StopFlag::default());
    assert_eq!(text(&client, &Request::new(url)).unwrap(), "in steps");
    server.join().unwrap();
}

#[test]
fn a_request_to_stop_ends_every_wait() {
    let patient = |stop: &StopFlag| {
        let hour = Duration::from_secs(3600);
        let settings =
            HttpSettings { connect_timeout: hour, stall_timeout: hour, attempts: 100, first_delay: hour };
        HttpClient::new(settings, stop.clone())
    };
    // In the body, before the answer, and between attempts.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let stalled = TestServer::scripted(vec![Answer::new(200, "12345").fault(Fault::Stall(2))]);
    let failing = TestServer::scripted(vec![Answer::new(500, "")]);
    for url in [stalled.url("/"), format!("http://{}/", silent.local_addr().unwrap()), failing.url("/")] {
        let stop = StopFlag::default();
        let client = patient(&stop);
        let begun = Instant::now();
        let reader = thread::spawn(move || text(&client, &Request::new(url)));
        thread::sleep(Duration::from_millis(100));
        stop.stop();
        assert!(matches!(reader.join().unwrap(), Err(Error::Stopped)));
        assert!(begun.elapsed() < A_HANG);
    }
    let stop = StopFlag::default();
    stop.stop();
    assert!(matches!(client_until(stop).get(&Request::new(failing.url("/"))), Err(Error::Stopped)));
    assert_eq!(failing.received().len(), 1);
}

#[test]
fn a_body_that_is_compressed_all_the_same_is_decoded_or_refused() {
    let content = noise(100_000);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&content).unwrap();
    let compressed = encoder.finish().unwrap();
    let encoded =
        |status, coding: &str| Answer::new(status, compressed.clone()).with("Content-Encoding", coding);

    let server = TestServer::scripted(vec![encoded(200, "gzip")]);
    let (response, decoded) = client().get_bytes(&Request::new(server.url("/")), 200_000).unwrap();
    assert_eq!(decoded, content);
    assert_eq!(response.content_length(), None);

    let torn = compressed.len() - 20;
    let server = TestServer::scripted(vec![
        Answer::new(200, &compressed[..torn]).with("Content-Encoding", "gzip"),
        encoded(200, "gzip"),
    ]);
    assert_eq!(client().get_bytes(&Request::new(server.url("/")), 200_000).unwrap().1, content);

    for answer in [encoded(200, "br"), encoded(206, "gzip").with("Content-Range", "bytes 0-9/10")] {
        let server = TestServer::scripted(vec![answer]);
        let request = Request { range: Some(0..u64::MAX), ..Request::new(server.url("/")) };
        let (kind, message) = kind_and_message(client().get(&request).unwrap_err());
        assert_eq!(kind, FetchErrorKind::Invalid);
        assert!(message.contains("encoded"), "{message}");
    }
}

#[test]
fn a_part_is_the_one_that_was_asked_for() {
    let content = noise(1000);
    let served = content.clone();
    let server = TestServer::start(move |request, _| Answer::file(request, &served, Some("\"a\"")));
    let part = |range: std::ops::Range<u64>| {
        let request = Request { range: Some(range), ..Request::new(server.url("/")) };
        let (response, bytes) = client().get_bytes(&request, 1000).unwrap();
        (response.status, response.content_range(), bytes)
    };
    assert_eq!(part(10..20), (206, Some((10..20, Some(1000))), content[10..20].to_vec()));
    assert_eq!(part(990..u64::MAX), (206, Some((990..1000, Some(1000))), content[990..].to_vec()));
    let request =
        Request { range: Some(0..10), if_range: Some("\"b\"".into()), ..Request::new(server.url("/")) };
    assert_eq!(client().get_bytes(&request, 1000).unwrap().1, content);

    for wrong in
        ["bytes 0-9/1000", "bytes 10-29/1000", "bytes 20-10/1000", "rows 10-19/1000", "bytes 10-19/5"]
    {
        let server = TestServer::scripted(vec![Answer::new(206, noise(10)).with("Content-Range", wrong)]);
        let request = Request { range: Some(10..20), ..Request::new(server.url("/")) };
        let (kind, _) = kind_and_message(client().get(&request).unwrap_err());
        assert_eq!(kind, FetchErrorKind::Invalid, "{wrong}");
    }
}

#[test]
fn content_that_is_too_large_or_no_json_is_refused() {
    let server = TestServer::scripted(vec![Answer::new(200, "<html>")]);
    let request = Request::new(server.url("/x?secret"));
    assert_eq!(client().get_bytes(&request, 6).unwrap().1, b"<html>");
    let (kind, message) = kind_and_message(client().get_bytes(&request, 5).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("larger than 5 bytes"), "{message}");
    let (kind, message) = kind_and_message(client().get_json::<Vec<u8>>(&request).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("JSON") && !message.contains("secret"), "{message}");
}

#[test]
fn what_is_written_down_of_a_request_holds_no_secret() {
    let request = with_token("https://user:secret@host/x?Signature=secret".into());
    let shown = format!("{request:?}");
    assert!(shown.contains("https://host/x") && shown.contains("Authorization"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
    let request =
        Request { headers: vec![("X".into(), "secret\n".into())], ..Request::new("http://127.0.0.1:1/") };
    let message = client().get(&request).unwrap_err().to_string();
    assert!(message.contains("\"X\"") && !message.contains("secret"), "{message}");
}

#[test]
fn connections_are_used_again() {
    let server = TestServer::start(|_, earlier| match earlier % 3 {
        0 => Answer::redirect(302, "/a"),
        1 => Answer::new(500, "again"),
        _ => Answer::new(200, "there"),
    });
    let client = client();
    for _ in 0..3 {
        assert!(text(&client, &Request::new(server.url("/"))).is_ok());
    }
    assert_eq!(server.received().len(), 9);
    assert!(server.received().iter().all(|request| request.connection == 0));
}

#[test]
fn a_proxy_is_asked_for_other_machines_only() {
    // It answers whatever it is asked to connect to, and then plays that host.
    let proxy = TestServer::start(|request, earlier| match (request.target.as_str(), earlier) {
        ("hub.invalid:80", _) => Answer::new(200, ""),
        ("/stalled", 1) => Answer::new(200, "12345").fault(Fault::Stall(2)),
        _ => Answer::new(200, "through the proxy"),
    });
    let settings = HttpSettings {
        stall_timeout: Duration::from_millis(300),
        first_delay: Duration::ZERO,
        ..HttpSettings::default()
    };
    let through = Proxy::new(&proxy.url("")).unwrap();
    let client = HttpClient::with_proxy(settings, StopFlag::default(), Some(through));
    let (_, content) = client.get_bytes(&Request::new("http://hub.invalid/stalled"), 100).unwrap();
    assert_eq!(content, b"through the proxy");
    let targets: Vec<String> = proxy.received().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["hub.invalid:80", "/stalled", "hub.invalid:80", "/stalled"]);

    let server = TestServer::scripted(vec![Answer::new(200, "directly")]);
    assert_eq!(text(&client, &Request::new(server.url("/"))).unwrap(), "directly");
    assert_eq!(proxy.received().len(), 4);
}
