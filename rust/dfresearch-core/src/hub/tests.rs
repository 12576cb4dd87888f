#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::http::test_server::{Answer, Received, TestServer, client};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn hub(source: Source, variables: &[(&str, &str)]) -> Result<Box<dyn Hub>> {
    let variables: Vec<(String, OsString)> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let find =
        move |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    connect_in(source, &client(), &find)
}

fn hugging_face(server: &TestServer, token: Option<&str>) -> Box<dyn Hub> {
    let endpoint = server.url("/");
    let mut variables = vec![("HF_ENDPOINT", endpoint.as_str())];
    variables.extend(token.map(|token| ("HF_TOKEN", token)));
    hub(Source::HuggingFace, &variables).unwrap()
}

fn kind_and_message(error: Error) -> (FetchErrorKind, String) {
    let message = error.to_string();
    match error {
        Error::Fetch { kind, .. } => (kind, message),
        other => panic!("{other:?}"),
    }
}

fn entry(path: &str) -> RemoteEntry {
    RemoteEntry { path: path.into(), size: 1, checksum: None }
}

#[test]
fn a_branch_is_pinned_to_its_commit() {
    let server = TestServer::start(|request, _| match request.target.as_str() {
        "/api/datasets/a/b/revision/main" => {
            Answer::new(200, format!(r#"{{"sha": "{COMMIT}", "gated": false}}"#))
        }
        "/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet" => Answer::new(200, r#"{"sha": "main"}"#),
        _ => Answer::new(404, "").with("X-Error-Code", "RevisionNotFound"),
    });
    let hub = hugging_face(&server, Some("hf_secret"));
    assert_eq!(hub.resolve("a/b", None).unwrap(), COMMIT);
    assert_eq!(server.received()[0].header("authorization"), Some("Bearer hf_secret"));
    let (kind, message) = kind_and_message(hub.resolve("a/b", Some("refs/convert/parquet")).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("\"main\" is not the name of a commit"), "{message}");
    let (kind, _) = kind_and_message(hub.resolve("a/b", Some("v2")).unwrap_err());
    assert_eq!(kind, FetchErrorKind::NotFound);
    assert_eq!(kind_and_message(hub.resolve("../b", None).unwrap_err()).0, FetchErrorKind::Invalid);
}

#[test]
fn a_tree_is_listed_over_all_its_pages() {
    let other = TestServer::start(|_, _| {
        Answer::new(
            200,
            r#"[{"type": "file", "path": "z", "size": 1, "oid": "00000000000000000000000000000000000000ff"}]"#,
        )
    });
    let elsewhere = other.url("/last");
    let large = "ab".repeat(32);
    let server = TestServer::start(move |request, _| {
        let path = format!("/api/datasets/a/b/tree/{COMMIT}");
        let (target, query) = request.target.split_once('?').unwrap();
        assert_eq!(target, path);
        match query {
            "recursive=true&expand=false" => Answer::new(
                200,
                format!(
                    r#"[{{"type": "directory", "oid": "ff", "size": 0, "path": "data"}},
                        {{"type": "file", "oid": "{COMMIT}", "size": 134, "path": "data/a b.zip", "xetHash": "x",
                          "lfs": {{"oid": "{large}", "size": 5000000000, "pointerSize": 134}}}},
                        {{"type": "file", "oid": "{COMMIT}", "size": 7, "path": "README.md"}}]"#
                ),
            )
            .with("Link", format!("<{path}?recursive=true&cursor=2>; rel=\"next\"")),
            _ => Answer::new(200, format!(r#"[{{"type": "file", "oid": "{COMMIT}", "size": 0, "path": "y"}}]"#))
                .with("Link", format!("<{elsewhere}>; rel=\"next\"")),
        }
    });
    let hub = hugging_face(&server, Some("hf_secret"));
    let entries = hub.list("a/b", COMMIT, &|path| path != "README.md").unwrap();
    let blob = Some(Checksum::GitBlob(from_hex(COMMIT).unwrap()));
    assert_eq!(
        entries[..2],
        [
            RemoteEntry {
                path: "data/a b.zip".into(),
                size: 5_000_000_000,
                checksum: Some(Checksum::Sha256([0xab; 32]))
            },
            RemoteEntry { path: "y".into(), size: 0, checksum: blob },
        ]
    );
    assert_eq!(entries[2].path, "z");
    assert_eq!(server.received().len(), 2);
    assert!(server.received().iter().all(|request| request.header("authorization").is_some()));
    assert!(other.received()[0].header("authorization").is_none());

    let request = hub.request("a/b", COMMIT, &entries[0]).unwrap();
    assert_eq!(request.url, server.url(&format!("/datasets/a/b/resolve/{COMMIT}/data/a%20b.zip")));
    assert_eq!(request.headers, [("authorization".to_owned(), "Bearer hf_secret".to_owned())]);
    assert!(hub.request("a/b", COMMIT, &entry("../secret")).is_err());
}

#[test]
fn a_tree_that_goes_round_or_lies_is_refused() {
    let round = TestServer::start(|request, _| {
        Answer::new(200, "[]").with("Link", format!("<{}>; rel=\"next\"", request.target))
    });
    let (kind, message) =
        kind_and_message(hugging_face(&round, None).list("a/b", COMMIT, &|_| true).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("circles"), "{message}");

    let lying =
        TestServer::start(|_, _| Answer::new(200, r#"[{"type": "file", "path": "x", "oid": "short"}]"#));
    let (kind, message) =
        kind_and_message(hugging_face(&lying, None).list("a/b", COMMIT, &|_| true).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("\"short\""), "{message}");
}

#[test]
fn a_gated_dataset_names_its_page() {
    let server = TestServer::start(|_, _| {
        Answer::new(403, "{}")
            .with("X-Error-Code", "GatedRepo")
            .with("X-Error-Message", "Access is restricted.")
    });
    let hub = hugging_face(&server, Some("hf_secret"));
    let page = hub.page("a/b");
    assert_eq!(page, server.url("/datasets/a/b"));
    let request = hub.request("a/b", COMMIT, &entry("x")).unwrap();
    for error in [
        hub.resolve("a/b", None).unwrap_err(),
        hub.list("a/b", COMMIT, &|_| true).unwrap_err(),
        client().get(&request).unwrap_err(),
    ] {
        let (kind, message) = kind_and_message(error);
        assert_eq!(kind, FetchErrorKind::Gated);
        assert!(message.contains(&page) && message.contains("Access is restricted."), "{message}");
        assert!(!message.contains("hf_secret"), "{message}");
    }
}

#[test]
fn tokens_are_found_where_the_official_tools_look() {
    let server = TestServer::start(|_, _| Answer::new(200, format!(r#"{{"sha": "{COMMIT}"}}"#)));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, token: &str| {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, token).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let by_path = write("elsewhere", "by_path\n");
    write("hf/token", "by_home\n");
    write("xdg/huggingface/token", "by_xdg");
    write("home/.cache/huggingface/token", "by_default");
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (hf, xdg, home, endpoint) = (at("hf"), at("xdg"), at("home"), server.url(""));
    let all = [
        ("HF_TOKEN", " by_variable "),
        ("HF_TOKEN_PATH", by_path.as_str()),
        ("HF_HOME", &hf),
        ("XDG_CACHE_HOME", &xdg),
        ("HOME", &home),
        ("HF_ENDPOINT", &endpoint),
    ];
    for (first, token) in ["by_variable", "by_path", "by_home", "by_xdg", "by_default"].iter().enumerate() {
        hub(Source::HuggingFace, &all[first..]).unwrap().resolve("a/b", None).unwrap();
        let request = server.received().pop().unwrap();
        assert_eq!(request.header("authorization"), Some(format!("Bearer {token}").as_str()));
    }
    hub(Source::HuggingFace, &all[5..]).unwrap().resolve("a/b", None).unwrap();
    assert!(server.received().pop().unwrap().header("authorization").is_none());

    for variables in
        [[("HF_TOKEN", "two secrets")], [("HF_ENDPOINT", "hub.example")], [("HF_ENDPOINT", "ftp://hub")]]
    {
        let message = hub(Source::HuggingFace, &variables).err().unwrap().to_string();
        assert!(message.starts_with(variables[0].0) && !message.contains("secrets"), "{message}");
    }
}

fn model_scope_page(request: &Received) -> Answer {
    let query = request.target.split_once('?').unwrap().1;
    assert!(query.starts_with("Revision=master&Recursive=true&PageNumber="), "{query}");
    let file = |path: &str, kind: &str, digest: &str| {
        format!(
            r#"{{"Name": "n", "Path": "{path}", "Type": "{kind}", "Size": 9, "Sha256": "{digest}", "Revision": "r"}}"#
        )
    };
    let files = match query.split('&').nth(2).unwrap() {
        "PageNumber=1" => [file("b.zip", "blob", &"cd".repeat(32)), file("d", "tree", "")].join(","),
        // The last page is given again for ever.
        _ => file("d/a.zip", "blob", ""),
    };
    Answer::new(
        200,
        format!(r#"{{"Code": 200, "Success": true, "Message": "success", "Data": {{"Files": [{files}]}}}}"#),
    )
}

#[test]
fn modelscope_is_pinned_to_its_listing() {
    let server = TestServer::start(|request, _| model_scope_page(request));
    let endpoint = server.url("");
    let variables = [("MODELSCOPE_ENDPOINT", endpoint.as_str()), ("MODELSCOPE_API_TOKEN", "ms-secret")];
    let hub = hub(Source::ModelScope, &variables).unwrap();
    let revision = hub.resolve("a/b", None).unwrap();
    assert!(revision.starts_with("master@"), "{revision}");
    assert_eq!(hub.resolve("a/b", None).unwrap(), revision);
    let entries = hub.list("a/b", &revision, &|_| true).unwrap();
    assert_eq!(
        entries,
        [
            RemoteEntry { path: "b.zip".into(), size: 9, checksum: Some(Checksum::Sha256([0xcd; 32])) },
            RemoteEntry { path: "d/a.zip".into(), size: 9, checksum: None },
        ]
    );
    let request = hub.request("a/b", &revision, &entries[1]).unwrap();
    let target = "/api/v1/datasets/a/b/repo?Revision=master&FilePath=d%2Fa.zip";
    assert_eq!(request.url, server.url(target));
    assert_eq!(request.headers[0].1, "Bearer ms-secret");

    let (kind, message) = kind_and_message(hub.list("a/b", "master@0", &|_| true).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("changed"), "{message}");
}

#[test]
fn modelscope_tells_failures_in_good_answers() {
    let answer = r#"{"Code": 404, "Success": false, "Message": "no such dataset", "Data": null}"#;
    let server = TestServer::start(move |_, _| Answer::new(200, answer));
    let endpoint = server.url("");
    let hub = hub(Source::ModelScope, &[("MODELSCOPE_ENDPOINT", endpoint.as_str())]).unwrap();
    let (kind, message) = kind_and_message(hub.resolve("a/b", None).unwrap_err());
    assert_eq!(kind, FetchErrorKind::NotFound);
    assert!(message.contains("no such dataset"), "{message}");
}

/// Two pages below `set/`, and files beside it.
fn s3_page(request: &Received, tag: &str) -> Answer {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    assert!(query.contains("list-type=2") && query.contains("prefix=set%2F"), "{query}");
    let object = |key: &str, tag: &str, size: u64| {
        format!("<Contents><Key>{key}</Key><ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>")
    };
    let content = if query.contains("continuation-token=more") {
        format!("<IsTruncated>false</IsTruncated>{}", object("set/a%20b.zip", "e1-2", 5))
    } else {
        let objects = object("set/", "d", 0) + &object("set/z.zip", tag, 7);
        format!("<IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>{objects}")
    };
    Answer::new(
        200,
        format!(
            "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <EncodingType>url</EncodingType>{content}</ListBucketResult>"
        ),
    )
}

#[test]
fn a_bucket_is_pinned_to_its_listing() {
    let server = TestServer::start(|request, earlier| match request.target.split_once('?').unwrap().0 {
        "/bucket/" => s3_page(request, if earlier < 2 { "e2" } else { "e3" }),
        other => panic!("{other}"),
    });
    let endpoint = server.url("");
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("AWS_SESSION_TOKEN", "session"),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ];
    let hub = hub(Source::S3, &variables).unwrap();
    let revision = hub.resolve("bucket/set", None).unwrap();
    let entries = hub.list("bucket/set", &revision, &|_| true).unwrap();
    let file = |path: &str, size| RemoteEntry { path: path.into(), size, checksum: None };
    assert_eq!(entries, [file("a b.zip", 5), file("z.zip", 7)]);
    assert_eq!(server.received().len(), 2, "one listing serves both");
    for request in server.received() {
        assert!(request.target.contains("eu-west-1") && request.target.contains("X-Amz-Signature="));
        assert!(!request.target.contains("s3cr3t"));
    }
    let request = hub.request("bucket/set", &revision, &entries[0]).unwrap();
    assert!(request.url.starts_with(&server.url("/bucket/set/a%20b.zip?")), "{}", request.url);
    assert!(request.url.contains("X-Amz-Signature=") && request.url.contains("X-Amz-Security-Token=session"));
    assert_eq!(request.headers, [("if-match".to_owned(), "\"e1-2\"".to_owned())]);
    assert!(hub.request("bucket/set", &revision, &entry("nothing")).is_err());
    assert!(hub.request("bucket/set", &revision, &entry("../z.zip")).is_err());

    // By now a file is another one: the old revision is gone, the new one has another name.
    let changed = hub.resolve("bucket/set", None).unwrap();
    assert_ne!(changed, revision);
    let (kind, message) = kind_and_message(hub.list("bucket/set", &revision, &|_| true).unwrap_err());
    assert_eq!(kind, FetchErrorKind::Invalid);
    assert!(message.contains("changed"), "{message}");
}

#[test]
fn a_bucket_without_credentials_is_asked_anonymously() {
    let server = TestServer::start(|request, _| match request.target.split_once('?').unwrap().0 {
        "/bucket/" => s3_page(request, "e2"),
        other => panic!("{other}"),
    });
    let endpoint = server.url("");
    let anonymous = hub(Source::S3, &[("AWS_ENDPOINT_URL_S3", endpoint.as_str())]).unwrap();
    let revision = anonymous.resolve("bucket/set/", None).unwrap();
    assert!(!server.received()[0].target.contains("X-Amz"));
    let request = anonymous.request("bucket/set", &revision, &entry("z.zip")).unwrap();
    assert_eq!(request.url, server.url("/bucket/set/z.zip"));

    let message = hub(Source::S3, &[("AWS_ACCESS_KEY_ID", "key")]).err().unwrap().to_string();
    assert!(message.contains("AWS_SECRET_ACCESS_KEY"), "{message}");
    let message = hub(Source::S3, &[("AWS_SECRET_ACCESS_KEY", "s3cr3t")]).err().unwrap().to_string();
    assert!(message.contains("AWS_ACCESS_KEY_ID") && !message.contains("s3cr3t"), "{message}");
}

#[test]
fn hexadecimal_digits_go_there_and_back() {
    let bytes: [u8; 20] = std::array::from_fn(|position| position as u8 * 13);
    assert_eq!(from_hex::<20>(&hex(&bytes)), Some(bytes));
    assert_eq!(from_hex::<20>(&hex(&bytes).to_uppercase()), Some(bytes));
    for text in ["", "0", "zz", "\u{e9}\u{e9}", "0000"] {
        assert_eq!(from_hex::<1>(text), None, "{text}");
    }
}
