//! Lines of JSON of suites whose figure is not a rate: one flat object a run, with the same head as all.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value};

use crate::record::Head;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The file that lines are appended to, if one was asked for.
#[derive(Debug)]
pub(crate) struct Facts {
    file: Option<File>,
    head: Map<String, Value>,
}

impl Facts {
    /// Says on what the suite runs, and opens the file before anything is measured: a wrong path is said at once.
    pub(crate) fn open(suite: &'static str, path: Option<&Path>) -> Result<Facts> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.map_err(|error| format!("could not open {}: {error}", path.display()))
        };
        let file = path.map(open).transpose()?;
        let Head { suite, machine, versions, commit } = Head::of(suite);
        println!("{machine}\n{versions}, commit {commit}");
        let mut head = Map::new();
        for (name, value) in [
            ("suite", suite.to_owned()),
            ("machine", machine),
            ("versions", versions),
            ("commit", commit),
        ] {
            head.insert(name.to_owned(), value.into());
        }
        Ok(Facts { file, head })
    }

    /// Appends what was found out in one round of one side of a case: the fields of an object.
    pub(crate) fn append(
        &mut self,
        case: &str,
        side: &str,
        round: usize,
        found: Value,
    ) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut line = self.head.clone();
        line.insert("case".into(), case.into());
        line.insert("side".into(), side.into());
        line.insert("round".into(), round.into());
        let Value::Object(found) = found else { return Err("facts are fields".into()) };
        line.extend(found);
        Ok(writeln!(file, "{}", Value::Object(line))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_begin_with_the_head() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for round in 0..2 {
            let mut facts = Facts::open("latency", Some(file.path())).unwrap();
            let found = serde_json::json!({ "p99_ms": 1.5 });
            facts.append("1 M keys", "engine", round, found).unwrap();
        }
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[1]["suite"], &lines[1]["side"]), (&"latency".into(), &"engine".into()));
        assert_eq!((&lines[1]["round"], &lines[1]["p99_ms"]), (&1.into(), &1.5.into()));
    }
}
