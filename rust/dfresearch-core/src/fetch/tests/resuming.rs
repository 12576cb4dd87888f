//! What the next process finds.

use super::*;

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
