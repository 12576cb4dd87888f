//! Content that is not, or no longer, the promised one.

use super::*;

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
        file.prefetch(std::slice::from_ref(&(0..1))).unwrap();
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
        file.prefetch(std::slice::from_ref(&(0..1))).unwrap();
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
    file.prefetch(std::slice::from_ref(&(0..1))).unwrap();
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
