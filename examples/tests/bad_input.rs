//! What a person gets wrong is met with an error that names it and says what to do, an exit code
//! that is not 0, and every file as it was.
//!
//! Method: the `wordcount` example is run as a process, as its user would. The directories that it
//! is given are compared before and after, file by file; only tokens of runs may be new, since to
//! try is to take the next generation. Where nothing is wrong after all, as for a flipped byte that
//! recovery does not read, the output must be exact; the oracle counts words on its own.
//!
//! Run by `cargo test -p highwater-examples`, which builds the example; `--test bad_input` alone
//! takes the program as it was built last.

#![expect(clippy::disallowed_methods, reason = "waits for another process")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the messages are for people

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A user without rights: `nobody`, nearly everywhere.
const NOBODY: u32 = 65_534;

const TEXT: &str = "To be, or not to be, that is the question:\n\
                    Whether 'tis nobler in the mind to suffer\n";

/// A directory with input, in which `wordcount` is run.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        // For the runs as another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::create_dir(directory.path().join("in")).unwrap();
        let place = Place { directory };
        place.write("in/a.txt", TEXT.repeat(40));
        place.write("in/b.txt", "The slings and arrows of outrageous fortune,\n".repeat(30));
        place
    }

    /// One with a finished job: output in `out`, checkpoints in `ck`.
    fn with_checkpoint() -> Place {
        let place = Place::new();
        let output =
            place.run(&["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(place.counts("out"), place.expected());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(wordcount());
        command.args(args).arg("--quiet").current_dir(self.directory.path());
        command.env_clear().env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn resume(&self) -> Output {
        self.run(&["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"])
    }

    /// All files and their contents, without the tokens of runs; a folder is a name without any.
    fn files(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.directory.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                    files.insert(path, None);
                } else if folder.file_name().is_none_or(|name| name != "generations") {
                    files.insert(path.clone(), Some(fs::read(path).unwrap()));
                }
            }
        }
        files
    }

    /// Runs, and expects an error of one line with all of `says`, exit code 1, and no file changed
    /// or gone.
    fn refuses(&self, args: &[&str], says: &[&str]) -> String {
        self.refused(&self.files(), self.command(args).output().unwrap(), says)
    }

    fn refused(
        &self,
        before: &BTreeMap<PathBuf, Option<Vec<u8>>>,
        output: Output,
        says: &[&str],
    ) -> String {
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("Error: ") && text.trim_end().lines().count() == 1, "{text}");
        for part in says {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
        let after = self.files();
        for (path, was) in before {
            assert!(after.get(path) == Some(was), "{} was changed: {text}", path.display());
        }
        let added =
            after.into_iter().filter(|(path, is)| is.is_some() && !before.contains_key(path));
        for (path, _) in added {
            // The mark that a sink puts into a directory which was empty is all that may be new.
            assert!(path.ends_with(".highwater.json"), "{} is new: {text}", path.display());
        }
        println!("{}", text.trim_end());
        text
    }

    /// The id of the job's newest checkpoint.
    fn newest(&self) -> u64 {
        let ids = fs::read_dir(self.path("ck/wordcount/checkpoints")).unwrap();
        let ids = ids.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        ids.map(|id| id.parse().unwrap()).max().unwrap()
    }

    /// What the part files of a directory say; each word once.
    fn counts(&self, directory: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for entry in fs::read_dir(self.path(directory)).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_string_lossy().starts_with("part-") {
                continue;
            }
            for row in fs::read_to_string(path).unwrap().lines() {
                let (word, count) = row.split_once(',').unwrap();
                let before = counts.insert(word.to_owned(), count.parse().unwrap());
                assert_eq!(before, None, "{word} twice");
            }
        }
        counts
    }

    /// What `in/*.txt` holds.
    fn expected(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for entry in fs::read_dir(self.path("in")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap().to_ascii_lowercase();
            for word in text.split(|c: char| !c.is_ascii_lowercase()).filter(|w| !w.is_empty()) {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    fn segment(&self) -> PathBuf {
        let folder = self.path("ck/wordcount/segments/count");
        let mut segments = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let segment = segments.next().unwrap();
        assert_eq!(segments.next(), None, "one base is expected");
        segment
    }
}

fn wordcount() -> PathBuf {
    // target/<profile>/deps/<this test>
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/wordcount");
    assert!(program.is_file(), "{} is built by `cargo test`", program.display());
    program
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs a command as somebody without rights; none if this user cannot do that.
fn as_nobody(mut command: Command) -> Option<Output> {
    match command.uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => Some(output),
        Err(error) => {
            // Not root: then this user is itself one without rights to what was made unreadable.
            println!("as oneself, for another user is refused: {error}");
            let mut plain = Command::new(command.get_program());
            plain.args(command.get_args()).env_clear().env("RUST_BACKTRACE", "0");
            plain.current_dir(command.get_current_dir().unwrap());
            fs::File::open(plain.get_program()).ok()?;
            plain.output().ok()
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn wrong_flags_are_a_matter_of_usage() {
    let place = Place::new();
    let base = ["--input", "in/*.txt", "--output", "out"];
    for (extra, says) in [
        (&["--chekpoint-dir", "x"][..], "unexpected argument '--chekpoint-dir'"),
        (&["--workers", "0"], "a whole number of at least 1"),
        (&["--workers", "129"], "at most 128"),
        (&["--checkpoint-interval", "10"], "100ms, 10s or 5min"),
        (&["--retain", "0"], "at least 1"),
        (&["--restore", "2026_11_21"], "latest, none, the id"),
        (&["--checkpoint-timeout", "0s"], "at least 1ms"),
        (&["--checkpoint-mode", "sometimes"], "exactly-once or at-least-once"),
        (&["--tolerable-failed-checkpoints=-1"], "--tolerable-failed-checkpoints"),
        (
            &["--max-concurrent-checkpoints", "2", "--min-pause-between-checkpoints", "1s"],
            "up to 2 concurrent checkpoints are allowed and the minimum pause",
        ),
        (
            &["--checkpoint-dir", "ck", "--fixed-delay-attempts", "2"],
            "the restart strategy is exponential-delay: it is a parameter of fixed-delay",
        ),
        (&["--restart-strategy", "fixed-delay"], "there is no checkpoint directory"),
        (&["--restore", "7"], "there is no checkpoint directory"),
    ] {
        let before = place.files();
        let output = place.run(&[&base, extra].concat());
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(says), "no {says:?} in: {text}");
        assert_eq!(place.files(), before);
        println!("{}", text.lines().next().unwrap());
    }
    let output = place.run(&["--output", "out"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--input <GLOB>"));
}

#[test]
fn input_that_cannot_be_read() {
    let place = Place::new();
    for (input, says) in [
        ("missing.txt", "no file matches \"missing.txt\"; give the path"),
        ("missing*.txt", "no file matches \"missing*.txt\"; give the path"),
        ("in", "in is a directory; to read the files in it, say in/*"),
        ("in/[.txt", "\"in/[.txt\" is not a valid pattern"),
    ] {
        place.refuses(&["--input", input, "--output", "out"], &["source \"lines\"", says]);
    }
}

#[test]
fn input_without_permission() {
    let place = Place::new();
    set_mode(&place.path("in/b.txt"), 0o000);
    let before = place.files_of_root();
    let Some(output) = as_nobody(place.command(&["--input", "in/*.txt", "--output", "out"])) else {
        return;
    };
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("could not read in/b.txt: Permission denied"), "{text}");
    print!("{text}");
    set_mode(&place.path("in/b.txt"), 0o644);
    assert_eq!(place.files(), before);
}

impl Place {
    /// The files, while `in/b.txt` is readable to root alone.
    fn files_of_root(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let path = self.path("in/b.txt");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        set_mode(&path, 0o644);
        let files = self.files();
        set_mode(&path, mode);
        files
    }
}

#[test]
fn text_that_is_not_utf8() {
    let place = Place::new();
    place.write("in/c.txt", b"good\nnot so \xff good\n");
    let args = ["--input", "in/c.txt", "--output", "out"];
    let says = ["in/c.txt, line 2: invalid UTF-8 after 7 bytes", "correct the file", "Skip"];
    let before = place.files();
    let output = place.run(&args);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    for part in says {
        assert!(text.contains(part), "{text}");
    }
    print!("{text}");
    // No count is seen of a job that failed; what it had prepared stays hidden.
    assert_eq!(place.counts("out"), BTreeMap::new());
    assert!(before.iter().all(|(path, was)| place.files().get(path) == Some(was)));
}

/// A restart reads the same line again: it is tried as often as it may be, and said once.
#[test]
fn a_job_that_fails_again_and_again() {
    let place = Place::new();
    place.write("in/c.txt", b"good\nnot so \xff good\n");
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    let restarts =
        ["--restart-strategy", "fixed-delay", "--fixed-delay-attempts", "2", "--fixed-delay-delay"];
    let output = place.run(&[&args[..], &restarts, &["5ms"]].concat());
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.starts_with("Error: gave up after 2 restarts in "), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    for part in ["fixed-delay: at most 2 restarts", "in/c.txt, line 2: invalid UTF-8"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    print!("{text}");
    assert_eq!(place.counts("out"), BTreeMap::new());
    // With the file corrected it goes on from where it was.
    place.write("in/c.txt", "good\nnot so    good\n");
    assert!(place.resume().status.success());
    assert_eq!(place.counts("out"), place.expected());

    // Without checkpoints it would begin afresh: nothing is tried again.
    place.write("in/c.txt", b"not so \xff good\n");
    let output = place.run(&["--input", "in/*.txt", "--output", "other"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

#[test]
fn output_that_belongs_to_somebody_else() {
    let place = Place::new();
    fs::create_dir(place.path("foreign")).unwrap();
    place.write("foreign/notes.txt", "mine");
    let into = |output| ["--input", "in/*.txt", "--output", output];
    place.refuses(
        &into("foreign"),
        &["foreign is not empty (it holds notes.txt)", "choose an empty"],
    );
    place.refuses(&into("in/a.txt"), &["in/a.txt is a file", "choose another path"]);
    place.refuses(&into("in/a.txt/out"), &["in/a.txt is a file", "choose another path"]);

    fs::create_dir(place.path("theirs")).unwrap();
    place.write("theirs/.highwater.json", r#"{"job":"flights","uid":"delays"}"#);
    let says = ["theirs belongs to sink \"delays\" of job \"flights\"", "choose another directory"];
    place.refuses(&into("theirs"), &says);
    place.write("theirs/.highwater.json", "{");
    place.refuses(&into("theirs"), &["theirs/.highwater.json was damaged", "choose another"]);
}

#[test]
fn output_of_an_earlier_run_is_not_written_over() {
    let place = Place::with_checkpoint();
    let says = ["out holds output of an earlier run", "--checkpoint-dir"];
    place.refuses(&["--input", "in/*.txt", "--output", "out"], &says);
    // The checkpoint names output that is not in this directory.
    let other = ["--input", "in/*.txt", "--output", "other", "--checkpoint-dir", "ck"];
    place.refuses(&other, &["neither other/.part-", "has written to before"]);
}

#[test]
fn output_that_was_tampered_with() {
    let place = Place::with_checkpoint();
    let part = place.files().into_keys().find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-"))
    });
    let part = part.unwrap();
    let rows = fs::read(&part).unwrap();
    fs::write(&part, [&rows[..], b"x,1\n"].concat()).unwrap();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    place.refuses(&args, &["out/part-", "bytes and the checkpoint says", "put the file back"]);
    fs::remove_file(&part).unwrap();
    place.refuses(&args, &["neither out/.part-", "put the file back"]);
    // And when it is back all is well.
    fs::write(&part, rows).unwrap();
    assert!(place.resume().status.success());
    assert_eq!(place.counts("out"), place.expected());
}

#[test]
fn checkpoints_that_cannot_be_written() {
    let place = Place::new();
    let to = |directory| ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", directory];
    for directory in ["in/a.txt", "in/a.txt/ck"] {
        let says = ["cannot create the checkpoint directory in/a.txt", "may write"];
        place.refuses(&to(directory), &says);
    }
    place.refuses(&to("ftp://host/ck"), &["ftp://host/ck is not a checkpoint directory", "s3://"]);
    place.refuses(&to("s3://bucket/ck"), &["cannot open s3://bucket/ck", "feature `aws`"]);

    fs::create_dir(place.path("locked")).unwrap();
    set_mode(&place.path("locked"), 0o555);
    let before = place.files();
    for directory in ["locked", "locked/ck"] {
        let Some(output) = as_nobody(place.command(&to(directory))) else { return };
        let says = ["the checkpoint directory locked", "Permission denied", "may write"];
        place.refused(&before, output, &says);
    }
    let Some(output) = as_nobody(place.command(&["--input", "in/*.txt", "--output", "locked/out"]))
    else {
        return;
    };
    place.refused(&before, output, &["could not write locked/out: Permission denied"]);
}

#[test]
fn regression_a_segment_that_is_truncated_or_missing_is_named() {
    let place = Place::with_checkpoint();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    let segment = place.segment();
    let bytes = fs::read(&segment).unwrap();
    let says = ["checkpoint 2 is damaged: segments/count/", "is corrupt", "put it back"];
    for length in [0, 1, 10, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&segment, &bytes[..length]).unwrap();
        place.refuses(&args, &says);
    }
    fs::remove_file(&segment).unwrap();
    place
        .refuses(&args, &["checkpoint 2 is damaged: segments/count/", "is missing", "put it back"]);
    fs::write(&segment, &bytes).unwrap();
    assert!(place.resume().status.success());
}

/// A segment's header repeats what the index says, for people; recovery reads from the end, and
/// only ranges that it needs.
#[test]
fn a_flipped_byte_in_a_segment_is_noticed_or_harmless() {
    let place = Place::with_checkpoint();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    let segment = place.segment();
    let bytes = fs::read(&segment).unwrap();
    let step = if long() { 1 } else { bytes.len() / 40 + 1 };
    let (mut refused, mut read) = (0, 0);
    for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&segment, &flipped).unwrap();
        let before = place.files();
        let output = place.run(&args);
        if output.status.success() {
            assert!(at < 100, "byte {at} of {} is not checked", bytes.len());
            assert_eq!(place.counts("out"), place.expected());
            read += 1;
        } else {
            // A run that read what is harmless has gone on from there.
            let newest = if read == 0 { 2 } else { place.newest() };
            let damaged = format!("checkpoint {newest} is damaged: segments/count/");
            place.refused(&before, output, &[&damaged, "is corrupt"]);
            refused += 1;
        }
    }
    assert!(refused > 10 * read, "{refused} refused, {read} read");
}

#[test]
fn a_flipped_byte_in_metadata_is_noticed() {
    let place = Place::with_checkpoint();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    let path = place.path("ck/wordcount/checkpoints/0000000002/metadata.json");
    let bytes = fs::read(&path).unwrap();
    let step = if long() { 1 } else { bytes.len() / 40 + 1 };
    for at in (0..bytes.len()).step_by(step).chain([bytes.len() - 2, bytes.len() - 1]) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        place.refuses(&args, &["checkpoints/0000000002/metadata.json is corrupt", "put it back"]);
    }
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        place.refuses(&args, &["checkpoints/0000000002/metadata.json is corrupt", "put it back"]);
    }
}

#[test]
fn a_checkpoint_of_another_job() {
    let place = Place::with_checkpoint();
    // The whole folder, under the name of the job that asks.
    fs::rename(place.path("ck/wordcount"), place.path("ck/other")).unwrap();
    let metadata = place.path("ck/other/checkpoints/0000000002/metadata.json");
    fs::create_dir_all(place.path("ck/wordcount/checkpoints/0000000002")).unwrap();
    let text = fs::read_to_string(metadata).unwrap();
    assert!(text.contains("\"job\": \"wordcount\""));
    let copy = place.path("ck/wordcount/checkpoints/0000000002/metadata.json");
    fs::write(copy, with_job(&text, "flights")).unwrap();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck"];
    let says =
        ["checkpoint 2 cannot be restored", "of job \"flights\", not \"wordcount\"", "another"];
    place.refuses(&args, &says);
}

/// The same metadata as another job would have written it.
fn with_job(text: &str, job: &str) -> Vec<u8> {
    use highwater_checkpoint::metadata::CheckpointMetadata;
    let mut metadata = CheckpointMetadata::from_bytes("metadata.json", text.as_bytes()).unwrap();
    job.clone_into(&mut metadata.job);
    metadata.to_bytes()
}

#[test]
fn regression_restoring_what_is_not_there_changes_nothing() {
    let place = Place::with_checkpoint();
    let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck", "--restore"];
    let with = |restore| [&args[..], &[restore]].concat();
    let says = ["no checkpoint 77 of job \"wordcount\"", "there are: ", "2\n"];
    place.refuses(&with("77"), &says);
    // Refused by the sink, after the run has begun: the next run must still find checkpoint 2.
    let says = ["out holds output of an earlier run (part-", "this run starts afresh"];
    place.refuses(&with("none"), &says);
    let output = place.resume();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(place.counts("out"), place.expected());
}

impl Place {
    /// A job that is stopped in the midst of its input, with output of three epochs, until
    /// [`signal`] lets it go on. How much input that takes depends on the machine.
    fn with_paused_run() -> (Place, Child) {
        for repeat in [40_000, 160_000, 640_000, 2_560_000] {
            let place = Place::new();
            place.write("in/a.txt", TEXT.repeat(repeat));
            let mut run = place.long_run(&[]).spawn().unwrap();
            let in_time = place.wait_for_output(&mut run);
            if in_time {
                signal(&run, "STOP");
                return (place, run);
            }
            run.wait().unwrap();
        }
        panic!("no input was long enough for output of three epochs on the way");
    }

    fn long_run(&self, more: &[&str]) -> Command {
        let args = ["--input", "in/*.txt", "--output", "out", "--checkpoint-dir", "ck", "--emit"];
        let often = ["updates", "--checkpoint-interval", "10ms", "--retain", "1000"];
        let mut command = self.command(&[&args[..], &often, more].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Waits until there is output of three epochs, with less than half of all rows; whether it
    /// came to that.
    fn wait_for_output(&self, run: &mut Child) -> bool {
        let rows = self.expected().values().sum::<u64>();
        loop {
            let ended = run.try_wait().unwrap().is_some();
            let there = fs::read_dir(self.path("out")).into_iter().flatten();
            let parts: Vec<_> = there
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("part-"))
                .collect();
            if ended || parts.len() >= 3 {
                let row_count = |path| fs::read_to_string(path).unwrap().lines().count() as u64;
                let written: u64 = parts.iter().map(row_count).sum();
                return written < rows / 2;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Checks that each word was counted up from 1 by ones, and each count said once; returns the
    /// epochs of the part files of each generation.
    fn check_updates(&self) -> BTreeMap<u64, Vec<u64>> {
        let (mut said, mut epochs) = (BTreeMap::<String, Vec<u64>>::new(), BTreeMap::new());
        for entry in fs::read_dir(self.path("out")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let Some(name) = name.strip_prefix("part-") else { continue };
            let numbers: Vec<u64> = name.split('-').map(|n| n.parse().unwrap()).collect();
            epochs.entry(numbers[1]).or_insert_with(Vec::new).push(numbers[0]);
            for row in fs::read_to_string(&path).unwrap().lines() {
                let (word, count) = row.split_once(',').unwrap();
                said.entry(word.to_owned()).or_default().push(count.parse().unwrap());
            }
        }
        let expected = self.expected();
        assert!(said.keys().eq(expected.keys()), "not the words of the input");
        for (word, mut counts) in said {
            counts.sort_unstable();
            assert!(counts.iter().copied().eq(1..=expected[&word]), "counts of {word:?}");
        }
        epochs
    }
}

/// Sends a run the signal of this name.
fn signal(run: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &run.id().to_string()]).status();
    assert!(sent.unwrap().success(), "SIG{name} was not sent");
}

#[test]
fn two_runs_of_one_job_at_once_are_one() {
    let (place, older) = Place::with_paused_run();
    let newer = place.long_run(&["--workers", "2"]).spawn().unwrap();
    // The older one goes on when the newer has claimed its generation, whatever it was about to do.
    while fs::read_dir(place.path("ck/wordcount/generations")).unwrap().count() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&older, "CONT");
    let newer = newer.wait_with_output().unwrap();
    let older = older.wait_with_output().unwrap();
    let text = stderr(&older);
    assert_eq!(older.status.code(), Some(1), "{text}");
    assert!(text.starts_with("Error: ") && text.lines().count() == 1, "{text}");
    assert!(text.contains("was fenced by a newer run"), "{text}");
    print!("{text}");
    assert!(newer.status.success(), "{}", stderr(&newer));
    let epochs = place.check_updates();
    let (last, first) = (epochs[&1].iter().max(), epochs[&2].iter().min());
    assert!(last < first, "the older run has written {last:?}, the newer from {first:?} on");
}

#[test]
fn regression_an_older_checkpoint_does_not_write_newer_output_again() {
    let (place, run) = Place::with_paused_run();
    signal(&run, "INT");
    signal(&run, "CONT");
    let stopped = run.wait_with_output().unwrap();
    assert!(stopped.status.success(), "{}", stderr(&stopped));
    let before = place.files();
    let says = ["out holds output of epochs after", "part-", "restore a later checkpoint"];
    let output = place.long_run(&["--restore", "2"]).output().unwrap();
    place.refused(&before, output, &says);
    // The attempt has not become what the job resumes from.
    let output = place.long_run(&[]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    place.check_updates();
}

/// Whether to try every byte, which takes some minutes.
fn long() -> bool {
    std::env::var_os("HIGHWATER_LONG_TESTS").is_some()
}
