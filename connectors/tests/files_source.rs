//! What the files source reads, and what it says of files that it cannot read.
//!
//! Method: small files written for each case; expected records by `str::lines` and by hand.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater_connectors::files::{
    BadRecord, FileOffset, FileSource, FileSplit, FilesError, FilesErrorKind, Format,
};
use proptest::prelude::*;
use serde::Deserialize;
use tempfile::TempDir;

const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

#[derive(Debug, PartialEq, Deserialize)]
struct Row {
    id: u64,
    name: String,
}

fn row(id: u64, name: &str) -> Row {
    Row { id, name: name.to_owned() }
}

/// A directory with one file, and the file's path.
fn file(name: &str, contents: impl AsRef<[u8]>) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, contents).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Reads all splits one after the other; the records, and how many were skipped.
fn read<F: Format>(source: &FileSource<F>) -> Result<(Vec<F::Item>, u64), BoxError> {
    let (mut out, mut skipped) = (Vec::new(), 0);
    for NamedSplit { split, .. } in source.discover(&[])? {
        let mut reader = source.open(&split, None)?;
        while reader.read(ALL, &mut out)? != ReadStatus::Finished {}
        skipped += reader.skipped();
    }
    Ok((out, skipped))
}

fn records<F: Format>(source: &FileSource<F>) -> Vec<F::Item> {
    read(source).unwrap().0
}

fn failure<T>(result: Result<T, BoxError>) -> FilesError {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(error) => *error.downcast::<FilesError>().unwrap(),
    }
}

/// The only split of a file.
fn split_of<F: Format>(source: &FileSource<F>) -> FileSplit {
    let mut splits = source.discover(&[]).unwrap();
    assert_eq!(splits.len(), 1);
    splits.remove(0).split
}

/// Reads a file in two splits that meet at `cut`.
fn read_cut<F: Format>(source: &FileSource<F>, whole: &FileSplit, cut: u64) -> Vec<F::Item> {
    let mut out = Vec::new();
    let halves =
        [FileSplit { end: Some(cut), ..whole.clone() }, FileSplit { start: cut, ..whole.clone() }];
    for split in halves {
        let mut reader = source.open(&split, None).unwrap();
        while reader.read(ALL, &mut out).unwrap() != ReadStatus::Finished {}
    }
    out
}

#[test]
fn a_cut_at_any_byte_gives_each_line_once() {
    for text in
        ["one\ntwo\n\nfour\n", "one\r\ntwo\r\n\r\nfour", "\n\n\n", "a", "no end\nof line", "\r\n"]
    {
        let (_directory, path) = file("a.txt", text);
        let source = FileSource::lines(&path);
        let whole = split_of(&source);
        let expected: Vec<&str> = text.lines().collect();
        for cut in 0..=text.len() as u64 {
            assert_eq!(read_cut(&source, &whole, cut), expected, "{text:?} cut at {cut}");
        }
        for split_bytes in 1..=text.len() as u64 {
            let lines = records(&source.clone().split_bytes(split_bytes));
            assert_eq!(lines, expected, "{text:?} in splits of {split_bytes}");
        }
    }
}

#[test]
fn a_cut_at_any_byte_gives_each_csv_row_once() {
    for text in ["id,name\n1,a\n22,\"b,b\"\n\n3,c", "id,name\r\n1,a\r\n\r\n22,\"b,b\"\r\n3,c\r\n"] {
        let (_directory, path) = file("a.csv", text);
        let source = FileSource::csv::<Row>(&path).one_line_records();
        let whole = split_of(&source);
        for cut in 0..=text.len() as u64 {
            let rows = read_cut(&source, &whole, cut);
            assert_eq!(rows, [row(1, "a"), row(22, "b,b"), row(3, "c")], "{text:?} cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_in_any_splits_is_its_lines(
        lines in prop::collection::vec("[a-z\u{e4}]{0,9}\r?", 0..40),
        end in any::<bool>(),
        split_bytes in 1u64..60,
    ) {
        let text = lines.join("\n") + if end { "\n" } else { "" };
        let (_directory, path) = file("a.txt", &text);
        let lines = records(&FileSource::lines(&path).split_bytes(split_bytes));
        // Unlike `str::lines`, only before `\n` is `\r` part of the terminator for both.
        prop_assert_eq!(lines, text.lines().collect::<Vec<_>>());
    }

    #[test]
    fn any_csv_is_read_as_the_csv_crate_reads_it(
        fields in prop::collection::vec("[a\",\r\n;' ]{0,6}", 1..60),
        block in 1usize..50,
    ) {
        let mut writer = csv::Writer::from_writer(b"a,b\n".to_vec());
        for pair in fields.chunks_exact(2) {
            writer.write_record(pair).unwrap();
        }
        let text = writer.into_inner().unwrap();
        let (_directory, path) = file("a.csv", &text);
        let source = FileSource::csv::<(String, String)>(&path);
        let expected: Vec<(String, String)> =
            csv::Reader::from_reader(&text[..]).deserialize().map(Result::unwrap).collect();

        let split = split_of(&source);
        let (mut out, mut offset) = (Vec::new(), None);
        loop {
            let mut reader = source.open(&split, offset).unwrap();
            let limit = ReadLimit { records: usize::MAX, bytes: block };
            if reader.read(limit, &mut out).unwrap() == ReadStatus::Finished {
                break;
            }
            offset = Some(reader.offset());
        }
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn an_empty_file_has_no_records() {
    let (_directory, path) = file("a", "");
    assert!(records(&FileSource::lines(&path)).is_empty());
    assert!(records(&FileSource::csv::<Row>(&path)).is_empty());
    assert!(records(&FileSource::json_lines::<Row>(&path)).is_empty());
    let (_directory, path) = file("a.csv", "id,name\n");
    assert!(records(&FileSource::csv::<Row>(&path)).is_empty());
}

#[test]
fn gzip_of_several_members_is_one_text() {
    let text: String = (0..100_000).fold(String::new(), |text, n| text + &format!("line {n}\n"));
    let (left, right) = text.as_bytes().split_at(text.len() / 3 + 2);
    // Named as if it were plain: the contents tell.
    let (_directory, path) = file("a.txt", [gzip(left), gzip(right)].concat());
    let source = FileSource::lines(&path).split_bytes(1000);
    assert_eq!(records(&source), text.lines().collect::<Vec<_>>());

    let split = split_of(&source);
    let offset = FileOffset { byte: text.find("line 77777\n").unwrap() as u64 };
    let mut reader = source.open(&split, Some(offset)).unwrap();
    let mut out = Vec::new();
    reader.read(ReadLimit { records: 1, bytes: usize::MAX }, &mut out).unwrap();
    assert_eq!(out, ["line 77777"]);
    assert_eq!(reader.bytes_read(), 11, "what was passed over does not count");
}

#[test]
fn a_gzip_file_that_was_cut_off_is_an_error() {
    let whole = gzip("some text\n".repeat(1000).as_bytes());
    let (_directory, path) = file("a.gz", &whole[..whole.len() - 9]);
    let error = failure(read(&FileSource::lines(&path)));
    assert_eq!(error.kind(), FilesErrorKind::System);
    assert_eq!(error.to_string(), format!("could not read {path}"));
}

#[test]
fn text_that_is_not_utf8_fails_or_is_skipped() {
    let (_directory, path) = file("a.txt", b"one\ntwo \xff\nthree\n");
    let source = FileSource::lines(&path);
    let error = failure(read(&source));
    assert_eq!(error.kind(), FilesErrorKind::Data);
    let expected =
        format!("{path}, line 2: invalid UTF-8 after 4 bytes of the line; correct the file");
    assert!(error.to_string().starts_with(&expected), "{error}");

    let (lines, skipped) = read(&source.clone().on_bad_record(BadRecord::Skip)).unwrap();
    assert_eq!((lines, skipped), (vec!["one".to_owned(), "three".to_owned()], 1));

    // Lines are not known where reading began in the middle.
    let mut reader = source.open(&split_of(&source), Some(FileOffset { byte: 4 })).unwrap();
    let error = failure(reader.read(ALL, &mut Vec::new()));
    assert!(error.to_string().contains("byte 4: invalid UTF-8"), "{error}");
}

#[test]
fn csv_rows_that_do_not_fit_fail_or_are_skipped() {
    for (bad, expected) in [
        ("2", "line 4: 1 fields, and the header has 2"),
        ("2,b,c", "line 4: 3 fields, and the header has 2"),
        ("x,b", "line 4: column id, \"x\": invalid digit found in string"),
        ("-2,b", "line 4: column id, \"-2\": invalid digit found in string"),
    ] {
        let text = format!("id,name\n1,\"a\na\"\n{bad}\n3,c\n");
        let (_directory, path) = file("a.csv", text);
        let source = FileSource::csv::<Row>(&path);
        let error = failure(read(&source));
        let expected = format!("{path}, {expected}; correct the file");
        assert!(error.to_string().starts_with(&expected), "{bad:?}: {error}");
        let (rows, skipped) = read(&source.on_bad_record(BadRecord::Skip)).unwrap();
        assert_eq!((rows, skipped), (vec![row(1, "a\na"), row(3, "c")], 1), "{bad:?}");
    }
}

#[test]
fn csv_declared_as_one_line_records_must_be_so() {
    let (_directory, path) = file("a.csv", "id,name\n1,\"a\na\"\n2,b\n3,c\rc\n4,d\n");
    let source = FileSource::csv::<Row>(&path).one_line_records();
    let error = failure(read(&source));
    let expected = format!("{path}, line 2: the line ends within a quoted field; correct the file");
    assert!(error.to_string().starts_with(&expected), "{error}");
    let (rows, skipped) = read(&source.on_bad_record(BadRecord::Skip)).unwrap();
    // The rest of the quoted field is a line of its own, and not a row.
    assert_eq!((rows, skipped), (vec![row(2, "b"), row(4, "d")], 3));
}

#[test]
fn csv_options() {
    let (_directory, path) = file("a.csv", "1;a\n2;NA\n");
    let source = FileSource::csv::<(u64, Option<String>)>(&path).headerless().delimiter(b';');
    assert_eq!(records(&source.null("NA")), [(1, Some("a".to_owned())), (2, None)]);
    let (_directory, path) = file("bom.csv", "\u{feff}id,name\n1,a\n");
    assert_eq!(records(&FileSource::csv::<Row>(&path)), [row(1, "a")]);
}

#[test]
fn json_that_does_not_fit_fails_or_is_skipped() {
    let text = "{\"id\":1,\"name\":\"a\"}\n\n{\"id\":2}\n{\"id\":3,\"name\":\"c\"}";
    let (_directory, path) = file("a.jsonl", text);
    let source = FileSource::json_lines::<Row>(&path);
    let error = failure(read(&source));
    let expected = format!("{path}, line 3: missing field `name` at column 8; correct the file");
    assert!(error.to_string().starts_with(&expected), "{error}");
    let (rows, skipped) = read(&source.on_bad_record(BadRecord::Skip)).unwrap();
    assert_eq!((rows, skipped), (vec![row(1, "a"), row(3, "c")], 1));
}

#[test]
fn a_record_beyond_the_limit_is_an_error_even_where_bad_ones_are_skipped() {
    let text = format!("id,name\n1,a\n2,{}\n", "b".repeat(600_000));
    let (_directory, path) = file("a.csv", &text);
    let skip = BadRecord::Skip;
    let lines = FileSource::lines(&path).record_bytes_max(500_000).on_bad_record(skip);
    let rows = FileSource::csv::<Row>(&path).record_bytes_max(500_000).on_bad_record(skip);
    for error in [failure(read(&lines)), failure(read(&rows))] {
        assert!(error.to_string().starts_with(&format!("{path}, byte 12: ")), "{error}");
        assert_eq!(error.kind(), FilesErrorKind::Data);
    }
    assert_eq!(records(&FileSource::lines(&path))[2].len(), 600_002, "within the limit it is read");
    let short = FileSource::lines(&path).record_bytes_max(3);
    assert!(failure(read(&short)).to_string().contains("byte 0: "), "in the block already");
}

#[test]
fn patterns_name_visible_files_sorted() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["b.txt", "a.txt", ".hidden.txt", "c.csv", "[d].txt"] {
        fs::write(directory.path().join(name), format!("{name}\n")).unwrap();
    }
    fs::create_dir(directory.path().join("e.txt")).unwrap();
    fs::write(directory.path().join("e.txt/f.txt"), "f.txt\n").unwrap();
    let read = |pattern: &str| {
        records(&FileSource::lines(directory.path().join(pattern).to_str().unwrap()))
    };
    assert_eq!(read("*.txt"), ["[d].txt", "a.txt", "b.txt"]);
    assert_eq!(read("[d].txt"), ["[d].txt"], "a name that is there is not a pattern");
    assert_eq!(read("**/*.txt"), ["[d].txt", "a.txt", "b.txt", "f.txt"]);
}

#[test]
fn what_a_pattern_does_not_name_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("books")).unwrap();
    let root = directory.path().to_str().unwrap();
    let error = |pattern: &str| failure(FileSource::lines(pattern).discover(&[]));

    for pattern in ["books", "books/", "boo*"] {
        let said = error(&format!("{root}/{pattern}")).to_string();
        let expected =
            format!("{root}/books is a directory; to read the files in it, say {root}/books/*");
        assert_eq!(said, expected, "{pattern}");
    }
    let none = error(&format!("{root}/*.txt"));
    let no_match = format!("no file matches {:?}; give the path", format!("{root}/*.txt"));
    assert!(none.to_string().starts_with(&no_match), "{none}");
    assert_eq!(none.kind(), FilesErrorKind::Invalid);
    assert!(error("a[").to_string().contains("not a valid pattern"));
}

#[test]
fn a_run_that_goes_on_finds_new_files_and_does_not_cut_known_ones_again() {
    let (directory, path) = file("a.txt", "one\ntwo\nthree\n");
    let pattern = directory.path().join("*.txt").to_str().unwrap().to_owned();
    let mut known = FileSource::lines(&pattern).split_bytes(5).discover(&[]).unwrap();
    assert_eq!(known.len(), 3);
    let named: Vec<&str> = known.iter().map(|split| split.id.as_str()).collect();
    assert_eq!(named, [format!("{path}:0-5"), format!("{path}:5-10"), format!("{path}:10-14")]);

    let source = FileSource::lines(&pattern).split_bytes(4);
    assert_eq!(source.discover(&known).unwrap(), []);
    fs::write(directory.path().join("b.txt"), "1234567").unwrap();
    let new = source.discover(&known).unwrap();
    assert_eq!(new.iter().map(|split| split.split.start).collect::<Vec<_>>(), [0, 4]);
    assert!(new.iter().all(|split| split.split.path.ends_with("b.txt")));

    known.extend(new);
    fs::remove_file(&path).unwrap();
    fs::remove_file(directory.path().join("b.txt")).unwrap();
    assert_eq!(source.discover(&known).unwrap(), [], "files that were read may be cleared away");
}

#[test]
fn a_known_file_that_is_gone_or_shorter_is_an_error_that_names_it() {
    for contents in [b"one\ntwo\nthree\n".to_vec(), gzip(b"one\ntwo\nthree\n")] {
        let (_directory, path) = file("a", &contents);
        let source = FileSource::lines(&path);
        let split = split_of(&source);
        let offset = Some(FileOffset { byte: 8 });

        let beyond = failure(source.open(&split, Some(FileOffset { byte: 99 })));
        let expected = format!("{path} ends at byte 14, before byte 99");
        assert!(beyond.to_string().starts_with(&expected), "{beyond}");

        fs::write(&path, &contents[..5]).unwrap();
        let shorter = failure(source.open(&split, offset));
        let expected = format!("{path} has 5 bytes and had {}", contents.len());
        assert!(shorter.to_string().starts_with(&expected), "{shorter}");

        fs::remove_file(&path).unwrap();
        let gone = failure(source.open(&split, offset));
        assert_eq!(
            gone.to_string(),
            format!("{path} is gone, and was not read to its end; put it back")
        );
        for error in [beyond, shorter, gone] {
            assert_eq!(error.kind(), FilesErrorKind::Changed);
        }
    }
}

#[test]
fn what_is_appended_to_a_file_later_is_not_read() {
    let (_directory, path) = file("a.txt", "one\ntwo\n");
    let source = FileSource::lines(&path);
    let split = split_of(&source);
    let mut appending = fs::OpenOptions::new().append(true).open(&path).unwrap();
    appending.write_all(b"three\n").unwrap();
    let mut out = Vec::new();
    source.open(&split, None).unwrap().read(ALL, &mut out).unwrap();
    assert_eq!(out, ["one", "two"]);
}

#[test]
fn progress_is_measured_on_disk() {
    let text = "some line\n".repeat(50_000);
    for contents in [text.clone().into_bytes(), gzip(text.as_bytes())] {
        let (_directory, path) = file("a", &contents);
        let source = FileSource::lines(&path);
        let mut reader = source.open(&split_of(&source), None).unwrap();
        while reader.read(ALL, &mut Vec::new()).unwrap() != ReadStatus::Finished {}
        let progress = reader.progress().unwrap();
        assert_eq!((progress.done, progress.total), (contents.len() as u64, contents.len() as u64));
        assert_eq!(reader.bytes_read(), text.len() as u64);
    }
}

#[test]
fn offsets_are_readable_in_a_checkpoint() {
    let json = serde_json::to_string(&FileOffset { byte: 12345 }).unwrap();
    assert_eq!(json, r#"{"byte":12345}"#);
}

#[test]
fn relative_paths_stay_relative() {
    // Tests run in the crate's folder.
    assert!(Path::new("Cargo.toml").exists());
    let split = split_of(&FileSource::lines("Cargo.to?l"));
    assert_eq!(split.path, "Cargo.toml");
}
