//! Reads the lines of runs that suites have written, and says which of them cannot be used.

use std::path::Path;

use serde_json::{Map, Value};

/// One line: one run of one side of a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    pub(crate) suite: String,
    pub(crate) case: String,
    pub(crate) side: String,
    pub(crate) round: u64,
    pub(crate) fields: Map<String, Value>,
}

impl Run {
    pub(crate) fn number(&self, field: &str) -> Option<f64> {
        self.fields.get(field)?.as_f64()
    }

    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }

    pub(crate) fn numbers(&self, field: &str) -> Vec<f64> {
        let values = self.fields.get(field).and_then(Value::as_array);
        values.into_iter().flatten().filter_map(Value::as_f64).collect()
    }
}

/// Instructions a record as of one commit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Instructions {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) suite: String,
    pub(crate) per_record: f64,
}

/// What was read of all files.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) runs: Vec<Run>,
    /// In the order of the files, which is that of the commits.
    pub(crate) instructions: Vec<Instructions>,
    /// What cannot be used, by file and line, and why.
    pub(crate) damaged: Vec<String>,
}

impl Found {
    pub(crate) fn read(&mut self, path: &Path) {
        match std::fs::read(path) {
            Ok(bytes) if path.extension().is_some_and(|extension| extension == "csv") => {
                self.instructions(&path.display().to_string(), &bytes);
            }
            Ok(bytes) => self.lines(&path.display().to_string(), &bytes),
            Err(error) => self.damaged.push(format!("{}: {error}", path.display())),
        }
    }

    fn lines(&mut self, file: &str, bytes: &[u8]) {
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match run(line) {
                Ok(run) => self.runs.push(run),
                Err(reason) => self.damaged.push(format!("{file}:{}: {reason}", at + 1)),
            }
        }
    }

    fn instructions(&mut self, file: &str, bytes: &[u8]) {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        for row in reader.records() {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    self.damaged.push(format!("{file}: {error}"));
                    continue;
                }
            };
            let line = row.position().map_or(0, csv::Position::line);
            let field = |at: usize| row.get(at).unwrap_or_default().to_owned();
            match field(3).parse() {
                Ok(per_record) if row.len() == 4 => self.instructions.push(Instructions {
                    date: field(0),
                    commit: field(1),
                    suite: field(2),
                    per_record,
                }),
                _ => self
                    .damaged
                    .push(format!("{file}:{line}: is not a date, a commit, a suite and a number")),
            }
        }
    }
}

fn run(line: &[u8]) -> Result<Run, String> {
    let fields: Map<String, Value> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("its {name:?} is {other}, not a string")),
        None => Err(format!("is not of a run: it has no {name:?}")),
    };
    let (suite, case, side) = (text("suite")?, text("case")?, text("side")?);
    let round = fields.get("round").and_then(Value::as_u64);
    let round = round.ok_or("is not of a run: it has no \"round\" that is a whole number")?;
    Ok(Run { suite, case, side, round, fields })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"suite":"latency","case":"a","side":"engine","round":0,"p99_ms":1.5}"#;

    #[test]
    fn what_cannot_be_used_is_named_by_its_line_and_the_rest_is_kept() {
        let text =
            format!("{GOOD}\n\n{{\"suite\":\n{GOOD}\n{{\"suite\":\"x\",\"case\":1}}\n[]\n\u{0}\n");
        let mut found = Found::default();
        found.lines("runs.json", text.as_bytes());
        assert_eq!(found.runs.len(), 2);
        assert_eq!(found.runs[0].number("p99_ms"), Some(1.5));
        let lines: Vec<_> = found.damaged.iter().map(|line| &line[..12]).collect();
        assert_eq!(lines, ["runs.json:3:", "runs.json:5:", "runs.json:6:", "runs.json:7:"]);
        assert!(found.damaged[1].contains("its \"case\" is 1"), "{:?}", found.damaged);
    }

    #[test]
    fn a_history_has_four_columns() {
        let text = "date,commit,suite,instructions_per_record\n\
                    2026-11-22,abc,keyed-count,55.5\n2026-11-22,abc,q5\n2026-11-23,def,q5,many\n";
        let mut found = Found::default();
        found.instructions("i.csv", text.as_bytes());
        assert_eq!(found.instructions.len(), 1);
        assert!((found.instructions[0].per_record - 55.5).abs() < 1e-9);
        assert!(found.damaged[0].starts_with("i.csv:3:"), "{:?}", found.damaged);
        assert!(found.damaged[1].starts_with("i.csv:4:"), "{:?}", found.damaged);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let mut found = Found::default();
        found.read(Path::new("/nowhere/runs.json"));
        assert!(found.damaged[0].starts_with("/nowhere/runs.json: "));
    }
}
