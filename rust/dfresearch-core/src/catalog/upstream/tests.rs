use std::cell::RefCell;
use std::fs;

use super::*;

const BEFORE: &str = "0123456789abcdef0123456789abcdef01234567";
const AFTER: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn entry(name: &str, file: &str, media_type: &str) -> String {
    let modality = Modality::ALL.into_iter().find(|&m| upstream_files(m).contains(&file)).unwrap();
    format!(
        "  - {{name: {name}, path: owner/{name}, modality: {modality}, media_type: {media_type}, notes: {file}}}\n"
    )
}

/// The six files, each with one dataset named after it.
fn six() -> Vec<(String, String)> {
    let files = Modality::ALL.into_iter().flat_map(upstream_files);
    files
        .map(|file| {
            let media_type = file.split('_').next().unwrap();
            let dataset = file.trim_end_matches(".yaml");
            (file.to_owned(), format!("datasets:\n{}", entry(dataset, file, media_type)))
        })
        .collect()
}

/// A source that is reached by addresses: it counts what it was asked.
#[derive(Default)]
struct Site {
    answers: Vec<(String, String)>,
    failure: Option<FetchErrorKind>,
    asked: RefCell<Vec<String>>,
}

impl Site {
    /// A web address with these files, and a path in front of them.
    fn web(files: &[(String, String)]) -> Self {
        let answers =
            files.iter().map(|(name, text)| (format!("http://configs.test/a/{name}"), text.clone()));
        Self { answers: answers.collect(), ..Self::default() }
    }

    /// The competition's repository at a commit.
    fn repository(commit: &str, files: &[(String, String)]) -> Self {
        let mut answers = vec![(location::newest_commit(), format!("{commit}\n"))];
        answers.extend(
            files.iter().map(|(name, text)| (Upstream::Repository.file(name, Some(commit)), text.clone())),
        );
        Self { answers, ..Self::default() }
    }

    fn answer(&self, url: &str, accept: Option<&str>) -> Result<Option<Vec<u8>>> {
        assert_eq!(accept.is_some(), url.starts_with("https://api."), "{url}");
        self.asked.borrow_mut().push(url.to_owned());
        match self.failure {
            Some(kind) => Err(Error::fetch(url, kind, "the test's failure")),
            None => {
                let found = self.answers.iter().find(|(address, _)| address == url);
                Ok(found.map(|(_, text)| text.clone().into_bytes()))
            }
        }
    }

    fn refresh(&self, cache: &Path, upstream: &Upstream, force: bool, now: &str) -> Result<ConfigRefresh> {
        refresh(cache, upstream, force, at(now), &mut |url, accept| self.answer(url, accept))
    }
}

fn web() -> Upstream {
    Upstream::parse("http://user:secret@configs.test/a/?token=secret").unwrap()
}

impl Site {
    /// The same site as [`web`] is asked for it: with the user and the query that belong to the address.
    fn with_secrets(mut self) -> Self {
        for (address, _) in &mut self.answers {
            *address = address.replace("http://", "http://user:secret@") + "?token=secret";
        }
        self
    }
}

/// Every file of a folder, hidden ones too, by name.
fn content(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read_to_string(entry.path()).unwrap_or_else(|_| "a folder".to_owned()))
        })
        .collect();
    files.sort();
    files
}

fn definition_content(folder: &Path) -> Vec<(String, String)> {
    content(folder).into_iter().filter(|(name, _)| name != SOURCE_FILE).collect()
}

fn sorted(mut files: Vec<(String, String)>) -> Vec<(String, String)> {
    files.sort();
    files
}

#[test]
fn the_first_refresh_fetches_and_records_and_a_day_passes_before_the_next() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join(CONFIG_FOLDER);
    let site = Site::web(&six()).with_secrets();
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-22T10:00:00.5Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Replaced);
    assert!(outcome.changes.is_empty());
    assert_eq!(definition_content(&folder), sorted(six()));
    let record: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join(SOURCE_FILE)).unwrap()).unwrap();
    assert_eq!(record["url"], "http://configs.test/a/");
    assert_eq!(record["fetched_at"], "2026-11-22T10:00:00Z");
    // As sha256sum says it.
    let digest = "794c71c6ff8704f5cfc149c6fe1817a9f09d9ee4ffd4b7ac85b712db23d56ae8";
    assert_eq!(record["files"]["real_images.yaml"], digest);
    assert_eq!(record["files"].as_object().unwrap().len(), 6);
    assert_eq!(content(cache.path()).len(), 1, "nothing temporary stays");

    let before = site.asked.borrow().len();
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-23T09:59:59Z").unwrap();
    assert_eq!((outcome.state, site.asked.borrow().len()), (RefreshState::Recent, before));
    assert_eq!(outcome.lines(), ["definitions: http://configs.test/a/, 23 hours old"]);

    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-23T10:00:00Z").unwrap();
    assert_eq!((outcome.state, site.asked.borrow().len()), (RefreshState::Unchanged, before + 6));
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-24T09:00:00Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Recent, "a source with nothing new was asked all the same");
    // A clock that was ahead once.
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-01T00:00:00Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Unchanged);
}

#[test]
fn changes_are_told_and_force_asks_at_once() {
    let cache = tempfile::tempdir().unwrap();
    Site::web(&six()).with_secrets().refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap();
    let mut files = six();
    files[0].1 = "datasets:\n".to_owned()
        + &entry("real_images", "real_images.yaml", "semisynthetic")
        + &entry("new", "real_images.yaml", "real");
    files[2].1 = files[2].1.replace("owner/real_videos", "owner/moved");
    files[3].1 = "datasets: []\n".to_owned();
    files[4].1 = files[4].1.replace("notes: real_audio.yaml", "notes: other words");
    let site = Site::web(&files).with_secrets();
    let now = "2026-11-22T10:00:01Z";
    assert_eq!(site.refresh(cache.path(), &web(), false, now).unwrap().state, RefreshState::Recent);
    let outcome = site.refresh(cache.path(), &web(), true, now).unwrap();
    assert_eq!(outcome.state, RefreshState::Replaced);
    assert_eq!(outcome.set_aside, None);
    assert_eq!(
        outcome.lines(),
        [
            "definitions: new ones from http://configs.test/a/",
            "  image/real_images: real before, semisynthetic now",
            "  video/real_videos: other media are taken now, so that it is fetched anew",
            "  video/synthetic_videos: dropped; its media stay on the disk, and are left out",
            "  image/new: new",
            "  1 dataset described in other words",
        ]
    );
    assert_eq!(content(cache.path()).len(), 1, "the earlier set is gone");
}

#[test]
fn the_repository_is_read_at_one_commit_and_once_for_each() {
    let cache = tempfile::tempdir().unwrap();
    let site = Site::repository(BEFORE, &six());
    let repository = Upstream::Repository;
    let outcome = site.refresh(cache.path(), &repository, false, "2026-11-22T10:00:00Z").unwrap();
    assert_eq!(outcome.record.as_ref().unwrap().commit.as_deref(), Some(BEFORE));
    assert_eq!(
        outcome.lines(),
        ["definitions: new ones from https://github.com/BitMind-AI/gasbench at 0123456789ab"]
    );
    assert!(site.asked.borrow()[1..].iter().all(|url| url.contains(BEFORE)));

    let asked = site.asked.borrow().len();
    let outcome = site.refresh(cache.path(), &repository, true, "2026-11-22T10:00:00Z").unwrap();
    assert_eq!((outcome.state, site.asked.borrow().len()), (RefreshState::Unchanged, asked + 1));

    // The same files at a later commit.
    let site = Site::repository(AFTER, &six());
    let outcome = site.refresh(cache.path(), &repository, false, "2026-11-24T10:00:00Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Unchanged);
    assert_eq!(outcome.record.unwrap().commit.as_deref(), Some(AFTER));

    // Where the interface refuses to tell the commit, the branch is read.
    let site = Site::repository("main", &six());
    let mut refused = |url: &str, accept: Option<&str>| match accept {
        Some(_) => Err(Error::fetch(url, FetchErrorKind::Gated, "rate limit exceeded")),
        None => site.answer(url, accept),
    };
    let outcome = refresh(cache.path(), &repository, true, at("2026-11-24T11:00:00Z"), &mut refused).unwrap();
    assert_eq!(outcome.record.unwrap().commit, None);
    assert!(outcome.reason.contains("rate limit"), "{}", outcome.reason);

    // Half of the files, and an answer that is no commit, change nothing.
    for site in [Site::repository(AFTER, &six()[..5]), Site::repository("<html>", &six())] {
        let outcome = site.refresh(cache.path(), &repository, true, "2026-11-24T12:00:00Z").unwrap();
        assert_eq!(outcome.state, RefreshState::Kept, "{}", outcome.reason);
    }
    assert_eq!(definition_content(&cache.path().join(CONFIG_FOLDER)), sorted(six()));
}

#[test]
fn without_a_network_the_earlier_set_goes_on_and_its_age_is_told() {
    let cache = tempfile::tempdir().unwrap();
    let offline = Site { failure: Some(FetchErrorKind::Unavailable), ..Site::default() };
    let error = offline.refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap_err().to_string();
    assert!(error.contains(CONFIG_URL_VARIABLE), "{error}");
    assert!(error.contains(&cache.path().join(CONFIG_FOLDER).display().to_string()), "{error}");
    assert!(error.contains("the test's failure"), "{error}");
    assert_eq!(content(cache.path()), []);

    Site::web(&six()).with_secrets().refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap();
    let before = content(&cache.path().join(CONFIG_FOLDER));
    for force in [false, true] {
        let outcome = offline.refresh(cache.path(), &web(), force, "2026-11-25T11:00:00Z").unwrap();
        assert_eq!(outcome.state, RefreshState::Kept);
        let [line] = outcome.lines().try_into().unwrap();
        assert!(line.contains("http://configs.test/a/, 3 days old, stay"), "{line}");
        assert!(line.contains("the test's failure"), "{line}");
    }
    // Another source than that of the set is asked at once, whatever the set's age.
    let other = Upstream::parse("http://elsewhere.test/").unwrap();
    let outcome = offline.refresh(cache.path(), &other, false, "2026-11-22T10:00:01Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Kept);
    assert_eq!(content(&cache.path().join(CONFIG_FOLDER)), before);

    let stopped =
        refresh(cache.path(), &web(), true, at("2026-11-25T11:00:00Z"), &mut |_, _| Err(Error::Stopped));
    assert!(matches!(stopped, Err(Error::Stopped)));
}

#[test]
fn files_that_are_not_valid_never_replace_others() {
    let cache = tempfile::tempdir().unwrap();
    let broken = |text: &str| {
        let mut files = six();
        files[1].1 = text.to_owned();
        Site::web(&files).with_secrets()
    };
    let twice = format!("datasets:\n{}", entry("real_images", "synthetic_images.yaml", "synthetic"));
    let cases = [
        ("<html>\nhello", "http://configs.test/a/synthetic_images.yaml:1: "),
        ("datasets:\n  - name: a\n    path: [\n", "http://configs.test/a/synthetic_images.yaml:"),
        (
            &twice,
            "synthetic_images.yaml:2: \"real_images\" is defined twice; the first is at real_images.yaml:2",
        ),
    ];
    for (text, message) in cases {
        let error = broken(text).refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(content(cache.path()), []);
    }
    Site::web(&six()).with_secrets().refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap();
    let before = content(&cache.path().join(CONFIG_FOLDER));
    for (text, message) in cases {
        let outcome = broken(text).refresh(cache.path(), &web(), false, "2026-11-24T10:00:00Z").unwrap();
        assert_eq!(outcome.state, RefreshState::Kept);
        assert!(outcome.reason.contains(message), "{}", outcome.reason);
        assert_eq!(outcome.record.as_ref().unwrap().url, "http://configs.test/a/");
        assert_eq!(outcome.age, SignedDuration::from_hours(48));
    }
    // A source without anything: no files, or files without datasets.
    let empty: Vec<_> = six().into_iter().map(|(name, _)| (name, "datasets: []\n".to_owned())).collect();
    for site in [Site::default(), Site::web(&empty).with_secrets()] {
        let outcome = site.refresh(cache.path(), &web(), true, "2026-11-24T10:00:00Z").unwrap();
        assert_eq!(outcome.state, RefreshState::Kept);
    }
    assert_eq!(content(&cache.path().join(CONFIG_FOLDER)), before);
    assert_eq!(content(cache.path()).len(), 1);
}

#[test]
fn what_a_person_put_there_is_used_and_set_aside_when_a_refresh_is_forced() {
    let own = [("image_datasets.yaml", "datasets: []\n"), ("notes.txt", "mine")];
    let edited = format!("{}# mine\n", six()[0].1);
    type Fill<'a> = &'a dyn Fn(&Path);
    let by_hand: Fill<'_> = &|folder| {
        fs::create_dir_all(folder).unwrap();
        for (name, text) in own {
            fs::write(folder.join(name), text).unwrap();
        }
    };
    let by_edit: Fill<'_> = &|folder| {
        let cache = folder.parent().unwrap();
        Site::web(&six()).with_secrets().refresh(cache, &web(), false, "2026-10-22T10:00:00Z").unwrap();
        fs::write(folder.join("real_images.yaml"), &edited).unwrap();
    };
    let by_addition: Fill<'_> = &|folder| {
        let cache = folder.parent().unwrap();
        Site::web(&six()).with_secrets().refresh(cache, &web(), false, "2026-10-22T10:00:00Z").unwrap();
        fs::write(folder.join("image_datasets.yaml"), "datasets: []\n").unwrap();
    };
    for fill in [by_hand, by_edit, by_addition] {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join(CONFIG_FOLDER);
        fill(&folder);
        let before = content(&folder);
        let mut files = six();
        files[0].1.push_str("# later\n");
        let site = Site::web(&files).with_secrets();
        let outcome = site.refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap();
        assert_eq!((outcome.state, site.asked.borrow().len()), (RefreshState::Own, 0));
        assert_eq!(content(&folder), before);
        for (count, aside) in ["gasbench_configs.before-2026-11-22", "gasbench_configs.before-2026-11-22-2"]
            .into_iter()
            .enumerate()
        {
            let outcome = site.refresh(cache.path(), &web(), true, "2026-11-22T10:00:00Z").unwrap();
            assert_eq!(outcome.state, RefreshState::Replaced);
            assert_eq!(outcome.set_aside, Some(cache.path().join(aside)));
            assert!(outcome.lines()[1].ends_with(aside), "{:?}", outcome.lines());
            assert_eq!(definition_content(&folder), sorted(files.clone()));
            assert_eq!(content(cache.path()).len(), count + 2);
            // Another edit, on the same day.
            fs::write(folder.join("real_images.yaml"), &edited).unwrap();
        }
        assert_eq!(content(&cache.path().join("gasbench_configs.before-2026-11-22")), before);
    }
}

#[test]
fn other_files_without_definitions_do_not_keep_a_fetch_away_and_are_set_aside() {
    let cache = tempfile::tempdir().unwrap();
    let folder = cache.path().join(CONFIG_FOLDER);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let outcome = Site::web(&six())
        .with_secrets()
        .refresh(cache.path(), &web(), false, "2026-11-22T10:00:00Z")
        .unwrap();
    assert_eq!(outcome.state, RefreshState::Replaced);
    assert_eq!(content(&outcome.set_aside.unwrap()), [("notes.txt".to_owned(), "mine".to_owned())]);

    // A file that went missing is fetched again, before the day is over.
    fs::remove_file(folder.join("real_audio.yaml")).unwrap();
    let site = Site::web(&six()).with_secrets();
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-22T10:00:01Z").unwrap();
    assert_eq!((outcome.state, outcome.set_aside), (RefreshState::Replaced, None));
    assert_eq!(definition_content(&folder), sorted(six()));

    // A record that nobody can read is no record.
    fs::write(folder.join(SOURCE_FILE), "{").unwrap();
    let outcome = site.refresh(cache.path(), &web(), false, "2026-11-23T10:00:01Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Own);
}

#[cfg(unix)]
#[test]
fn a_linked_folder_is_not_emptied() {
    let cache = tempfile::tempdir().unwrap();
    let shared = tempfile::tempdir().unwrap();
    let site = Site::web(&six()).with_secrets();
    site.refresh(shared.path(), &web(), false, "2026-11-22T10:00:00Z").unwrap();
    let target = shared.path().join(CONFIG_FOLDER);
    std::os::unix::fs::symlink(&target, cache.path().join(CONFIG_FOLDER)).unwrap();
    let mut files = six();
    files[0].1.push_str("# later\n");
    let site = Site::web(&files).with_secrets();
    let outcome = site.refresh(cache.path(), &web(), true, "2026-11-22T11:00:00Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Replaced);
    assert_eq!(definition_content(&cache.path().join(CONFIG_FOLDER)), sorted(files));
    assert_eq!(definition_content(&target), sorted(six()));
}

#[test]
fn a_folder_of_this_machine_is_a_source_and_the_earlier_layout_is_one_file_each() {
    let cache = tempfile::tempdir().unwrap();
    let source = tempfile::tempdir().unwrap();
    let address = url::Url::from_directory_path(source.path()).unwrap();
    let folder = Upstream::parse(&source.path().display().to_string()).unwrap();
    assert_eq!(Upstream::parse(address.as_str()).unwrap().file("a", None), folder.file("a", None));
    let nobody = Site::default();
    let error = nobody.refresh(cache.path(), &folder, false, "2026-11-22T10:00:00Z").unwrap_err().to_string();
    assert!(error.contains("no such definition file"), "{error}");

    let earlier = format!("datasets:\n{}", entry("old", "real_images.yaml", "real"));
    fs::write(source.path().join("image_datasets.yaml"), &earlier).unwrap();
    let outcome = nobody.refresh(cache.path(), &folder, false, "2026-11-22T10:00:00Z").unwrap();
    assert_eq!(outcome.state, RefreshState::Replaced);
    let held = definition_content(&cache.path().join(CONFIG_FOLDER));
    assert_eq!(held, [("image_datasets.yaml".to_owned(), earlier)]);

    // Today's layout takes its place, and the earlier file is not even asked for.
    for (name, text) in six() {
        fs::write(source.path().join(name), text).unwrap();
    }
    let outcome = nobody.refresh(cache.path(), &folder, true, "2026-11-22T11:00:00Z").unwrap();
    assert_eq!(outcome.changes.removed.len(), 1);
    assert_eq!(outcome.changes.added.len(), 6);
    assert_eq!(definition_content(&cache.path().join(CONFIG_FOLDER)), sorted(six()));
    assert_eq!(nobody.asked.borrow().len(), 0);

    // A broken file is named where it lies.
    fs::write(source.path().join("real_audio.yaml"), "datasets: 3\n").unwrap();
    let outcome = nobody.refresh(cache.path(), &folder, true, "2026-11-22T11:00:00Z").unwrap();
    let place = format!("{}:1: ", source.path().join("real_audio.yaml").display());
    assert!(outcome.reason.starts_with(&place), "{}", outcome.reason);

    let nowhere = Upstream::Folder(source.path().join("nowhere"));
    let error = nobody.refresh(cache.path(), &nowhere, true, "2026-11-22T11:00:00Z").unwrap_err();
    assert!(matches!(&error, Error::Argument { argument: CONFIG_URL_VARIABLE, .. }), "{error}");
}

#[test]
fn sources_are_addresses_of_known_kinds_or_folders() {
    for (text, expected) in [
        ("http://host/base", "http://host/base/a.yaml"),
        ("https://user:word@host/base/?key=1#top", "https://user:word@host/base/a.yaml?key=1#top"),
        ("file:///srv/with%20space", "/srv/with space/a.yaml"),
        ("../shared/configs", "../shared/configs/a.yaml"),
        (" /srv/configs ", "/srv/configs/a.yaml"),
    ] {
        assert_eq!(Upstream::parse(text).unwrap().file("a.yaml", None), expected);
    }
    assert_eq!(
        Upstream::parse("https://user:word@host/base/?key=1#top").unwrap().shown(),
        "https://host/base/"
    );
    for text in ["", "ftp://host/configs", "http://", "file://host/share", "s3://bucket/configs"] {
        let error = Upstream::parse(text).unwrap_err();
        assert!(error.to_string().starts_with(CONFIG_URL_VARIABLE), "{error}");
    }
    assert_eq!(
        Upstream::Repository.file("real_images.yaml", Some(BEFORE)),
        format!(
            "https://raw.githubusercontent.com/BitMind-AI/gasbench/{BEFORE}/src/gasbench/dataset/configs/real_images.yaml"
        )
    );
}
