//! How things look on stdout: tables for people, JSON for programs.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::HumanBytes;
use serde_json::Value;

/// Standard output, buffered.
pub(super) struct Output {
    out: BufWriter<Stdout>,
    is_coloured: bool,
}

/// Rows under headings. A heading that begins with `>` is of a column that is flush right.
#[derive(Debug)]
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Output {
    pub(super) fn stdout() -> Output {
        let out = io::stdout();
        let is_coloured = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Output { out: BufWriter::with_capacity(64 << 10, out), is_coloured }
    }

    pub(super) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.out, "{}", text.as_ref())
    }

    /// A document for programs, indented for people all the same.
    pub(super) fn json(&mut self, document: &Value) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.out, document)?;
        writeln!(self.out)
    }

    /// One document of many, on a line of its own.
    pub(super) fn json_line(&mut self, document: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, document)?;
        writeln!(self.out)
    }

    pub(super) fn table(&mut self, table: &Table) -> io::Result<()> {
        for (number, line) in table.lines().enumerate() {
            if number == 0 && self.is_coloured {
                writeln!(self.out, "\x1b[1m{line}\x1b[0m")?;
            } else {
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let is_right: Vec<bool> = self.headings.iter().map(|text| text.starts_with('>')).collect();
        let headings = self.headings.iter().map(|text| text.trim_start_matches('>').to_owned());
        let headings: Vec<String> = headings.collect();
        let all = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let width = widths.get(column).copied().unwrap_or(0);
                let is_right = is_right.get(column).copied().unwrap_or(false);
                if is_right { format!("{cell:>width$}") } else { format!("{cell:width$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all().map(line).collect::<Vec<_>>().into_iter()
    }
}

/// A size as people read it.
pub(super) fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A moment in UTC.
pub(super) fn date(ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

/// How long ago a moment was, in its two largest units.
pub(super) fn age(ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(ms);
    let age = SystemTime::now().duration_since(at).unwrap_or_default();
    let text = humantime::format_duration(Duration::from_secs(age.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", ">n", "why"]);
        table.row(["a".into(), "1000".into(), String::new()]);
        table.row(["longer".into(), "1".into(), "because".into()]);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines, ["name       n  why", "a       1000", "longer     1  because"]);
    }
}
