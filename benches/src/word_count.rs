//! `word-count`: lines of ten words, split, exchanged by word, counted, discarded.
//!
//! Words are drawn by Zipf's law from a vocabulary. The lines are written before the clock starts; a
//! record is a copy of one of them, on the heap, as a reader of files would make it. Each side says the
//! new count with every word. All but the loop own their words, to send them to other workers: in the 24 bytes
//! of a [`SmolStr`], where a `String` would be one more allocation that another worker frees.

use std::path::PathBuf;
use std::sync::Arc;

use highwater::Flow;
use highwater_connectors::generator::GeneratorSource;
use smol_str::SmolStr;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::vec::Map;

use crate::by_hand::{Batches, HashMap, by_itself, discard, numbered};
use crate::digest::Digest;
use crate::draws::{Draws, Keys};
use crate::rounds::{Case, Comparison, Flags};
use crate::sides::{LOOP, TIMELY, Work};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Words of a line.
const WORDS: u64 = 10;

/// Different lines: more than caches near a core hold, few enough to be written in no time.
const LINES: u64 = 100_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Lines of a run
    #[arg(long, default_value_t = 10_000_000)]
    lines: u64,

    /// Different words
    #[arg(long, value_delimiter = ',', default_values_t = [100_000])]
    words: Vec<u64>,

    /// Write the different lines to this file, for programs that are not this one, and run nothing
    #[arg(long, value_name = "FILE", hide = true)]
    write: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { lines, words, write, flags } = args;
    if let (Some(path), Some(words)) = (write, words.first()) {
        return Ok(std::fs::write(path, Text::of(*words).0.join("\n"))?);
    }
    let what = format!(
        "{} M lines of {WORDS} words, copied in the job from text that is written before the clock starts",
        *lines as f64 / 1e6
    );
    let mut comparison = Comparison::begin("word-count", flags, &what)?
        .on_record(include_str!("../digests/word-count.json"), &[("lines", *lines)])?;
    for count in words {
        let text = Text::of(*count);
        let work = Work { name: "word-count", records: *lines, workers: flags.workers };
        let case = Case::new(format!("{count} words, zipf")).field("words", *count);
        comparison.run(&sides(case, work, &text, flags));
    }
    comparison.end()
}

fn sides<'a>(case: Case<'a>, work: Work, text: &'a Text, flags: &Flags) -> Case<'a> {
    let lines = work.records;
    case.field("words_a_line", WORDS)
        .side(LOOP, move || work.plain(|digest| count(lines, text, digest)))
        .side(TIMELY, move || {
            let text = text.clone();
            work.timely(move |scope, digest| by_hand(scope, lines, text.clone(), digest))
        })
        .engine(flags, move |interval| {
            let text = text.clone();
            work.engine(interval, move |flow, digest| engine(flow, lines, text.clone(), digest))
        })
}

fn engine(flow: &Flow<'_>, lines: u64, text: Text, mut digest: Digest) {
    flow.source("lines", GeneratorSource::new(lines, move |i| text.line(i).to_owned()))
        .flat_map(|line| words(&line))
        .keyed()
        .count("count")
        .for_each(move |(word, count)| note(&mut digest, &word, count));
}

/// The words of a line, each as a key without a value.
fn words(line: &str) -> Vec<(SmolStr, ())> {
    line.split(' ').map(|word| (SmolStr::new(word), ())).collect()
}

fn by_hand(scope: Scope<'_, u64>, lines: u64, text: Text, digest: Digest) {
    let words = numbered(scope, lines, move |i| text.line(i).to_owned())
        .flat_map(|line| line.split(' ').map(SmolStr::new).collect::<Vec<_>>());
    let counts =
        words.unary::<Batches<(SmolStr, u64)>, _, _, _>(by_itself::<SmolStr>(), "Count", |_, _| {
            let mut counts: HashMap<SmolStr, u64> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for word in batch.drain(..) {
                        let count = counts.entry_ref(&word).or_insert(0);
                        *count += 1;
                        session.give((word, *count));
                    }
                });
            }
        });
    discard(counts, digest, |digest, (word, count)| note(digest, &word, count));
}

fn count(lines: u64, text: &Text, digest: &mut Digest) {
    let mut counts: HashMap<&str, u64> = HashMap::default();
    for word in (0..lines).flat_map(|i| text.line(i).split(' ')) {
        let count = counts.entry(word).or_insert(0);
        *count += 1;
        note(digest, word, *count);
    }
}

/// The letters of a word, which has at most eight, are the word.
#[inline]
fn note(digest: &mut Digest, word: &str, count: u64) {
    let letters = word.bytes().fold(0, |letters, letter| letters << 8 | u64::from(letter));
    digest.hashed(letters.wrapping_mul(count));
}

/// All different lines.
#[derive(Clone)]
struct Text(Arc<[String]>);

impl Text {
    /// Lines of so many different words.
    fn of(words: u64) -> Text {
        let mut draws = Draws::new(0x776f_7264_7300);
        let mut known = std::collections::HashSet::new();
        let mut vocabulary: Vec<String> = Vec::new();
        while (vocabulary.len() as u64) < words {
            let length = 3 + draws.below(6);
            let word: String =
                (0..length).map(|_| (b'a' + draws.below(26) as u8) as char).collect();
            if known.insert(word.clone()) {
                vocabulary.push(word);
            }
        }
        let zipf = Keys::zipf(words);
        let line = |number: u64| {
            let ranks = (0..WORDS).map(|word| zipf.draw(number * WORDS + word) as usize);
            ranks.map(|rank| vocabulary[rank].as_str()).collect::<Vec<_>>().join(" ")
        };
        Text((0..LINES).map(line).collect())
    }

    #[inline]
    fn line(&self, i: u64) -> &str {
        &self.0[(i % LINES) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_sides_come_to_one_result() {
        let checkpoints = Some(Duration::from_millis(50));
        let flags = Flags { checkpoints, ..Flags::on_workers(3) };
        let work = Work { name: "word-count", records: 3_000, workers: flags.workers };
        let mut comparison = Comparison::begin("word-count", &flags, "a test").unwrap();
        let text = Text::of(1_000);
        let totals = comparison.run(&sides(Case::new("words"), work, &text, &flags)).unwrap();
        assert_eq!(totals.rows, 30_000);
        comparison.end().unwrap();
    }

    #[test]
    fn a_line_has_ten_words_of_three_to_eight_letters() {
        let text = Text::of(1_000);
        for line in &text.0[..100] {
            let lengths: Vec<_> = line.split(' ').map(str::len).collect();
            assert_eq!(lengths.len() as u64, WORDS);
            assert!(lengths.iter().all(|length| (3..=8).contains(length)), "{line}");
        }
    }
}
