//! The index against files, questions and damage.

use std::path::PathBuf;

use penpal_search::{Document, Filter, Index, SearchError, Words};
use proptest::prelude::*;
use tempfile::TempDir;

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("search.db");
    (folder, path)
}

fn document(ordinal: u64, text: &str) -> Document {
    Document {
        ordinal,
        reference: format!("key {ordinal}").into_bytes(),
        text: text.to_owned(),
        sent_ms: ordinal * 1000,
        ..Document::default()
    }
}

fn found(index: &Index, typed: &str) -> Vec<u64> {
    filtered(index, typed, &Filter::default())
}

fn filtered(index: &Index, typed: &str, filter: &Filter) -> Vec<u64> {
    let words = Words::parse(typed).expect("words");
    let found = index.find(&words, filter, None, 100).expect("an answer");
    found.into_iter().map(|found| found.ordinal).collect()
}

#[test]
fn every_part_is_searched_and_the_latest_comes_first() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    let mut second = document(2, "nothing of the kind");
    second.subject = "Deploy of src/main.rs".to_owned();
    let mut third = document(3, "see the file");
    third.files = "deploy-notes.md".to_owned();
    third.people = "bob/web to api".to_owned();
    index.add(&[document(1, "the DEPLOY is naïve"), second, third]).expect("added");
    assert_eq!(found(&index, "deploy"), [3, 2, 1]);
    assert_eq!(found(&index, "naive"), [1], "without accents");
    assert_eq!(found(&index, "main.rs"), [2], "signs part words");
    assert_eq!(found(&index, "bob"), [3]);
    assert_eq!(found(&index, "deploy -notes"), [2, 1]);
    assert_eq!(found(&index, "dep*"), [3, 2, 1]);
    assert_eq!(found(&index, "\"of src\""), [2]);
    assert_eq!(found(&index, "\"src of\""), [0; 0]);
}

#[test]
fn scripts_without_spaces_are_found_inside_of_texts() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    index.add(&[document(1, "支払いの確認をお願いします"), document(2, "確かに払いました")]).expect("added");
    assert_eq!(found(&index, "確認"), [1]);
    assert_eq!(found(&index, "払い"), [2, 1]);
}

#[test]
fn filters_and_pages() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    let documents: Vec<Document> = (0..10)
        .map(|number| Document {
            contact: Some(vec![u8::from(number % 2 == 0)]),
            place: Some(vec![7]).filter(|_| number < 3),
            author: Some(vec![7]).filter(|_| number == 9),
            ..document(number, "word")
        })
        .collect();
    index.add(&documents).expect("added");
    let with = Filter { contact: Some(vec![1]), ..Filter::default() };
    assert_eq!(filtered(&index, "word", &with), [8, 6, 4, 2, 0]);
    let here = Filter { place: Some(vec![7]), ..Filter::default() };
    assert_eq!(filtered(&index, "word", &here), [9, 2, 1, 0]);
    let when = Filter { since_ms: Some(3000), until_ms: Some(6000), ..Filter::default() };
    assert_eq!(filtered(&index, "word", &when), [5, 4, 3]);
    let words = Words::parse("word").expect("words");
    let page = index.find(&words, &with, Some(6), 2).expect("an answer");
    assert_eq!(page.iter().map(|found| found.ordinal).collect::<Vec<_>>(), [4, 2]);
}

#[test]
fn a_message_that_moves_or_goes_is_found_where_it_is() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    index.add(&[document(1, "first"), document(2, "second")]).expect("added");
    let moved = Document { ordinal: 3, ..document(1, "first") };
    index.add(&[moved]).expect("added");
    assert_eq!(found(&index, "first"), [3]);
    index.remove(&[3]).expect("removed");
    assert_eq!(found(&index, "first"), [0; 0]);
    assert_eq!(index.list(None, 10).expect("a list").len(), 1);
}

#[test]
fn what_is_done_is_kept_with_what_was_added() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    assert_eq!(index.done().expect("read"), None);
    index.add_up_to(&[document(5, "kept")], 6, b"me").expect("added");
    drop(index);
    let index = Index::open(&path).expect("the index again");
    assert_eq!(index.done().expect("read"), Some((6, b"me".to_vec())));
    assert_eq!(found(&index, "kept"), [5]);
    let index = Index::remake(&path).expect("an empty index");
    assert_eq!(index.done().expect("read"), None);
    assert_eq!(found(&index, "kept"), [0; 0]);
}

#[test]
fn the_file_holds_no_text_and_is_private() {
    let (folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    index.add(&[document(1, "the canary sings: tweedle tweedle")]).expect("added");
    drop(index);
    for entry in std::fs::read_dir(folder.path()).expect("the folder") {
        let entry = entry.expect("an entry");
        let bytes = std::fs::read(entry.path()).expect("the file");
        assert!(!bytes.windows(14).any(|part| part == b"the canary sin"), "{:?}", entry.path());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(entry.metadata().expect("its mode").permissions().mode() & 0o077, 0);
        }
    }
}

#[test]
fn garbage_is_told_and_made_again() {
    let (_folder, path) = file();
    std::fs::write(&path, vec![0x5a; 64 * 1024]).expect("garbage");
    assert!(matches!(Index::open(&path), Err(SearchError::Damaged(_))));
    let mut index = Index::remake(&path).expect("made again");
    index.add(&[document(1, "here")]).expect("added");
    assert_eq!(found(&index, "here"), [1]);
}

#[test]
fn a_page_that_was_damaged_is_told() {
    let (_folder, path) = file();
    let mut index = Index::open(&path).expect("an index");
    let documents: Vec<Document> =
        (1..400).map(|number| document(number, &format!("word number{number}"))).collect();
    index.add(&documents).expect("added");
    drop(index);
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes.iter_mut().skip(4096).for_each(|byte| *byte = 0x5a);
    std::fs::write(&path, bytes).expect("damaged");
    let outcome = Index::open(&path)
        .and_then(|index| index.find(&Words::parse("word").expect("words"), &Filter::default(), None, 10));
    assert!(matches!(outcome, Err(SearchError::Damaged(_))), "{outcome:?}");
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let (folder, _) = file();
    let gone = folder.path().join("no/such/search.db");
    assert!(matches!(Index::open(&gone), Err(SearchError::Unusable { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is typed is a question that the index understands, or is refused before.
    #[test]
    fn no_question_breaks_the_index(typed in any::<String>(), signs in "[-\"*():^+a{}~ANDORT ]{0,40}") {
        let (_folder, path) = file();
        let mut index = Index::open(&path).expect("an index");
        index.add(&[document(1, "a AND b OR t")]).expect("added");
        for typed in [typed, signs] {
            if let Ok(words) = Words::parse(&typed) {
                index.find(&words, &Filter::default(), None, 10).expect("an answer");
            }
        }
    }
}
