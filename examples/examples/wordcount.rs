//! Counts words: text files in, `word,count` rows out, exactly once.
//!
//! ```text
//! cargo run --release --example wordcount -- --input 'examples/data/*.txt' --output out -w 2
//! ```
//!
//! A word is a maximal run of ASCII letters, lower-cased, so that
//! `tr -cs A-Za-z '\n' | tr A-Z a-z | sort | uniq -c` says the same.

use clap::{Parser, ValueEnum};
use highwater::prelude::*;
use highwater_connectors::files::{FileSink, FileSource};

/// Counts the words of text files, exactly once
#[derive(Parser)]
struct Args {
    /// Files to read, plain or gzip
    #[arg(long, value_name = "GLOB")]
    input: String,

    /// Directory for the rows `word,count`
    #[arg(long, value_name = "DIR")]
    output: String,

    /// When to say a count
    #[arg(long, value_enum, default_value_t = When::Final)]
    emit: When,

    #[command(flatten)]
    job: JobArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum When {
    /// Once for each word, when all input is read
    Final,
    /// With each occurrence: the running count
    Updates,
}

fn main() -> highwater::Result<()> {
    let Args { input, output, emit, job } = Args::parse();
    let emit = match emit {
        When::Final => Emit::AtEnd,
        When::Updates => Emit::EachUpdate,
    };
    Job::with_args("wordcount", job).run(move |flow| {
        flow.source("lines", FileSource::lines(&input))
            .flat_map(|line| words(&line))
            .keyed()
            .emit(emit)
            .count("count")
            .sink("counts", FileSink::csv(&output));
    })
}

/// The words of a line, each as a key without a value.
fn words(line: &str) -> Vec<(String, ())> {
    let words = line.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words.map(|word| (word.to_ascii_lowercase(), ())).collect()
}
