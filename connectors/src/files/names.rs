//! The names of part files, and what they say. No I/O.
//!
//! ```text
//!   .part-<generation>-<worker>-<sequence>.csv.inprogress    hidden: written, not committed
//!   part-<epoch>-<generation>-<worker>.csv                   committed
//! ```
//!
//! Every run has a generation of its own, so no two runs write files of the same name, and a run
//! that was fenced and does not know it yet cannot touch the files of the next.

use highwater::Epoch;

/// Name of the file that says which job and sink a directory belongs to.
pub(super) const MARKER: &str = ".highwater.json";

/// The marker while it is written.
pub(super) const MARKER_NEW: &str = ".highwater.json.new";

/// The name under which a worker writes, before the epoch of what it writes is known.
pub(super) fn hidden(generation: u64, worker: usize, sequence: u64, extension: &str) -> String {
    format!(".part-{generation}-{worker}-{sequence}.{extension}.inprogress")
}

/// The name under which readers see the output of one worker in one epoch; in the order of epochs
/// as text, too, for the first ten billion of them.
pub(super) fn committed(epoch: Epoch, generation: u64, worker: usize, extension: &str) -> String {
    format!("part-{:010}-{generation}-{worker}.{extension}", epoch.0)
}

/// The generation in the name of a hidden part file; none if this is not such a name.
pub(super) fn generation_of_hidden(name: &str) -> Option<u64> {
    let stem = name.strip_prefix(".part-")?.strip_suffix(".inprogress")?;
    three_numbers(stem).map(|[generation, _worker, _sequence]| generation)
}

/// The epoch in the name of a committed part file; none if this is not such a name.
pub(super) fn epoch_of_committed(name: &str) -> Option<Epoch> {
    let [epoch, _generation, _worker] = three_numbers(name.strip_prefix("part-")?)?;
    Some(Epoch(epoch))
}

/// Reads `1-2-3.extension`.
fn three_numbers(stem: &str) -> Option<[u64; 3]> {
    let (numbers, _extension) = stem.split_once('.')?;
    let mut parsed = [0; 3];
    let mut parts = numbers.split('-');
    for number in &mut parsed {
        let digits = parts.next()?;
        // `parse` would take a plus sign, too.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = digits.parse().ok()?;
    }
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_back() {
        let name = committed(Epoch(17), 3, 1, "csv");
        assert_eq!(name, "part-0000000017-3-1.csv");
        assert_eq!(epoch_of_committed(&name), Some(Epoch(17)));
        let name = hidden(3, 1, 4, "csv");
        assert_eq!(name, ".part-3-1-4.csv.inprogress");
        assert_eq!(generation_of_hidden(&name), Some(3));
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in [
            ".part-3-1.csv.inprogress",
            ".part-3-1-4-5.csv.inprogress",
            ".part-a-1-4.csv.inprogress",
            ".part-+3-1-4.csv.inprogress",
            ".part-3-1-4.csv",
            ".part-3-1-4.inprogress",
            "part-3-1-4.csv.inprogress",
            "notes.txt",
        ] {
            assert_eq!(generation_of_hidden(name), None, "{name}");
        }
        assert_eq!(epoch_of_committed("part-list.csv"), None);
        assert_eq!(epoch_of_committed(".part-3-1-4.csv"), None);
    }
}
