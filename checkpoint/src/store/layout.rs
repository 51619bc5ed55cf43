//! Names of objects below a job's folder, and what they say.
//!
//! ```text
//! generations/0000000007                                     fencing token of a run
//! checkpoints/0000000042/metadata.json                       a completed checkpoint
//! segments/count/0000000007-0003-0000000012-delta.seg        sealed by worker 3 at the end of epoch 12
//! segments/count/0000000007-fold-0000000012-0.seg            deltas folded into a base
//! segments/@bundles/0000000007-0003-0000000012-5.seg         small segments of several operators
//! segments/count/0000000007-copy-0000000012-3.seg            copied when the run began, from elsewhere
//! savepoints/before-upgrade/metadata.json                    a savepoint, which is a folder
//! requests/1700000000000-1a2b.json                           somebody asks the running job for something
//! probes/1a2b3c                                              while a store is tried out
//! ```
//!
//! Numbers are padded so that names sort as numbers do. A name is read back only in exactly the
//! form in which it is written, hence two names never stand for the same thing. User-given names
//! are one path segment each ([`encode`]).

use std::fmt;

use crate::metadata::{CheckpointId, Generation, SegmentKind};
use crate::savepoint::SavepointName;
use crate::time::Epoch;

/// Folder of the fencing tokens.
pub const GENERATIONS: &str = "generations";
/// Folder of the completed checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// Folder of the segments, one folder an operator, and one for bundles.
pub const SEGMENTS: &str = "segments";
/// Folder of the bundles within that of the segments: no uid is encoded like this.
const BUNDLES: &str = "@bundles";
/// Folder of the objects that a store is tried out with.
pub const PROBES: &str = "probes";

/// Folder of the savepoints, one folder each.
pub const SAVEPOINTS: &str = "savepoints";
/// Folder of what the running job is asked for, and of its answers.
pub const REQUESTS: &str = "requests";
/// The object in the folder of a checkpoint or a savepoint that makes it one.
pub const METADATA: &str = "metadata.json";

/// Name of the fencing token of `generation`.
///
/// ```
/// use highwater_checkpoint::{metadata::Generation, store::layout};
/// let name = layout::generation(Generation(7));
/// assert_eq!(name, "generations/0000000007");
/// assert_eq!(layout::parse_generation(&name), Some(Generation(7)));
/// ```
pub fn generation(generation: Generation) -> String {
    format!("{GENERATIONS}/{:010}", generation.0)
}

/// The generation that a token's name stands for; none if it is not the name of one.
pub fn parse_generation(name: &str) -> Option<Generation> {
    let number = name.strip_prefix(GENERATIONS)?.strip_prefix('/')?;
    let parsed = Generation(number.parse().ok()?);
    (generation(parsed) == name).then_some(parsed)
}

/// Name of the metadata of checkpoint `id`.
pub fn checkpoint(id: CheckpointId) -> String {
    format!("{CHECKPOINTS}/{:010}/{METADATA}", id.0)
}

/// The checkpoint that a metadata's name stands for; none if it is not the name of one.
pub fn parse_checkpoint(name: &str) -> Option<CheckpointId> {
    let rest = name.strip_prefix(CHECKPOINTS)?.strip_prefix('/')?;
    let (number, _) = rest.split_once('/')?;
    let id = CheckpointId(number.parse().ok()?);
    (checkpoint(id) == name).then_some(id)
}

/// Folder of a savepoint.
pub fn savepoint(name: &SavepointName) -> String {
    format!("{SAVEPOINTS}/{name}")
}

/// The savepoint that a metadata's name stands for; none if it is not the name of one.
pub fn parse_savepoint(name: &str) -> Option<SavepointName> {
    let rest = name.strip_prefix(SAVEPOINTS)?.strip_prefix('/')?;
    rest.strip_suffix(METADATA)?.strip_suffix('/')?.parse().ok()
}

/// Name of the request `id`.
pub fn request(id: &str) -> String {
    format!("{REQUESTS}/{id}.json")
}

/// Name of the object that says that a run has begun with request `id`.
pub fn request_taken(id: &str) -> String {
    format!("{REQUESTS}/{id}.taken.json")
}

/// Name of the answer to request `id`.
pub fn request_answer(id: &str) -> String {
    format!("{REQUESTS}/{id}.answer.json")
}

/// The id of the request, or of the answer, that an object is, and what it is of that.
pub fn parse_request(name: &str) -> Option<(&str, RequestObject)> {
    let file = name.strip_prefix(REQUESTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    let (id, what) = file.split_once('.').unwrap_or((file, ""));
    let what = match what {
        "" => RequestObject::Request,
        "taken" => RequestObject::Taken,
        "answer" => RequestObject::Answer,
        _ => return None,
    };
    (!id.is_empty() && !id.contains('/')).then_some((id, what))
}

/// What an object in the folder of requests is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestObject {
    /// The request.
    Request,
    /// That a run has begun with it.
    Taken,
    /// Its answer.
    Answer,
}

/// Folder of the segments of operator `uid`.
pub fn segments_of(uid: &str) -> String {
    format!("{SEGMENTS}/{}", encode(uid))
}

/// What the name of a segment says; printed, it is the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The operator.
    pub uid: String,
    /// The run that wrote it.
    pub generation: Generation,
    /// The epoch at whose end it was cut.
    pub epoch: Epoch,
    /// Who made it, from what.
    pub maker: SegmentMaker,
}

/// Who made a segment, from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentMaker {
    /// A worker, from its live state.
    Worker {
        /// Index of the worker.
        worker: usize,
        /// Base or delta.
        kind: SegmentKind,
    },
    /// A run that began from a savepoint or a checkpoint elsewhere: a copy of a segment there.
    Copy {
        /// Number of the object within the copy.
        part: u32,
    },
    /// The background fold, from older segments; always a base.
    Fold {
        /// Number of the segment within the fold.
        part: u32,
    },
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SegmentName { uid, generation, epoch, maker } = self;
        write!(f, "{SEGMENTS}/{}/{:010}-", encode(uid), generation.0)?;
        match maker {
            SegmentMaker::Worker { worker, kind } => {
                write!(f, "{worker:04}-{:010}-{}.seg", epoch.0, kind_name(*kind))
            }
            SegmentMaker::Fold { part } => write!(f, "fold-{:010}-{part}.seg", epoch.0),
            SegmentMaker::Copy { part } => write!(f, "copy-{:010}-{part}.seg", epoch.0),
        }
    }
}

impl SegmentName {
    /// Reads a name back; none if it is not the name of a segment.
    pub fn parse(name: &str) -> Option<SegmentName> {
        let rest = name.strip_prefix(SEGMENTS)?.strip_prefix('/')?;
        let (uid, file) = rest.split_once('/')?;
        let mut fields = file.strip_suffix(".seg")?.splitn(4, '-');
        let generation = Generation(fields.next()?.parse().ok()?);
        let worker = fields.next()?;
        let epoch = Epoch(fields.next()?.parse().ok()?);
        let last = fields.next()?;
        let maker = match worker {
            "fold" => SegmentMaker::Fold { part: last.parse().ok()? },
            "copy" => SegmentMaker::Copy { part: last.parse().ok()? },
            _ => SegmentMaker::Worker { worker: worker.parse().ok()?, kind: parse_kind(last)? },
        };
        let parsed = SegmentName { uid: decode(uid)?, generation, epoch, maker };
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// What the name of a bundle says, an object with small segments of several operators of one
/// worker; printed, it is the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleName {
    /// The run that wrote it.
    pub generation: Generation,
    /// Index of the worker.
    pub worker: usize,
    /// The epoch at whose end its segments were cut.
    pub epoch: Epoch,
    /// Number of the bundle within the run, on this worker.
    pub number: u64,
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BundleName { generation, worker, epoch, number } = self;
        let (generation, epoch) = (generation.0, epoch.0);
        write!(f, "{SEGMENTS}/{BUNDLES}/{generation:010}-{worker:04}-{epoch:010}-{number}.seg")
    }
}

impl BundleName {
    /// Reads a name back; none if it is not the name of a bundle.
    pub fn parse(name: &str) -> Option<BundleName> {
        let file = name.strip_prefix(SEGMENTS)?.strip_prefix('/')?.strip_prefix(BUNDLES)?;
        let mut fields = file.strip_prefix('/')?.strip_suffix(".seg")?.splitn(4, '-');
        let parsed = BundleName {
            generation: Generation(fields.next()?.parse().ok()?),
            worker: fields.next()?.parse().ok()?,
            epoch: Epoch(fields.next()?.parse().ok()?),
            number: fields.next()?.parse().ok()?,
        };
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// The run that wrote an object with segments, one or several; none if the name is of no such
/// object.
pub fn segment_generation(name: &str) -> Option<Generation> {
    let bundle = || BundleName::parse(name).map(|name| name.generation);
    SegmentName::parse(name).map(|name| name.generation).or_else(bundle)
}

fn kind_name(kind: SegmentKind) -> &'static str {
    match kind {
        SegmentKind::Base => "base",
        SegmentKind::Delta => "delta",
    }
}

fn parse_kind(name: &str) -> Option<SegmentKind> {
    [SegmentKind::Base, SegmentKind::Delta].into_iter().find(|kind| kind_name(*kind) == name)
}

/// One path segment that stands for `name`, whatever characters that holds.
///
/// Letters and digits of ASCII, `-`, `_` and `.` stand for themselves; every other byte is
/// percent-encoded, and so is a dot in front (`..` is a path, `.x` is hidden). The empty name is a
/// lone `%`. Different names never give the same segment; on a file system that ignores case,
/// names that differ only in case still share a folder.
///
/// ```
/// use highwater_checkpoint::store::layout::{decode, encode};
/// assert_eq!(encode("clicks/hour"), "clicks%2Fhour");
/// assert_eq!(decode("clicks%2Fhour").as_deref(), Some("clicks/hour"));
/// ```
pub fn encode(name: &str) -> String {
    if name.is_empty() {
        return "%".to_owned();
    }
    let mut encoded = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || (byte == b'.' && at > 0);
        if plain {
            encoded.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

/// The name that `segment` stands for; none unless [`encode`] gives exactly `segment` for it.
pub fn decode(segment: &str) -> Option<String> {
    if segment == "%" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &rest[2..];
    }
    let name = String::from_utf8(bytes).ok()?;
    (encode(&name) == segment).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_maker() -> impl Strategy<Value = SegmentMaker> {
        prop_oneof![
            (any::<usize>(), prop_oneof![Just(SegmentKind::Base), Just(SegmentKind::Delta)])
                .prop_map(|(worker, kind)| SegmentMaker::Worker { worker, kind }),
            any::<u32>().prop_map(|part| SegmentMaker::Fold { part }),
            any::<u32>().prop_map(|part| SegmentMaker::Copy { part }),
        ]
    }

    proptest! {
        #[test]
        fn any_name_survives_encoding(name in prop_oneof![any::<String>(), "[./%a-c]{0,4}"]) {
            let encoded = encode(&name);
            prop_assert!(!encoded.is_empty() && !encoded.starts_with('.'));
            prop_assert!(!encoded.contains('/') && encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), Some(name));
        }

        #[test]
        fn what_decodes_is_what_was_encoded(segment in "[%.0-9A-Fa-f~/-]{0,6}") {
            if let Some(name) = decode(&segment) {
                prop_assert_eq!(encode(&name), segment);
            }
        }

        #[test]
        fn segment_names_are_read_back(
            uid: String,
            generation: u64,
            epoch: u64,
            maker in any_maker(),
        ) {
            let (generation, epoch) = (Generation(generation), Epoch(epoch));
            let name = SegmentName { uid, generation, epoch, maker };
            let printed = name.to_string();
            prop_assert_eq!(BundleName::parse(&printed), None);
            prop_assert_eq!(segment_generation(&printed), Some(generation));
            prop_assert_eq!(SegmentName::parse(&printed), Some(name));
        }

        #[test]
        fn bundle_names_are_read_back(generation: u64, worker: usize, epoch: u64, number: u64) {
            let (generation, epoch) = (Generation(generation), Epoch(epoch));
            let name = BundleName { generation, worker, epoch, number };
            let printed = name.to_string();
            prop_assert_eq!(SegmentName::parse(&printed), None);
            prop_assert_eq!(segment_generation(&printed), Some(generation));
            prop_assert_eq!(BundleName::parse(&printed), Some(name));
        }

        #[test]
        fn numbered_names_are_read_back(number: u64) {
            let generation = Generation(number);
            prop_assert_eq!(parse_generation(&super::generation(generation)), Some(generation));
            let id = CheckpointId(number);
            prop_assert_eq!(parse_checkpoint(&checkpoint(id)), Some(id));
        }
    }

    #[test]
    fn names_are_those_of_the_documentation() {
        let (generation, epoch) = (Generation(7), Epoch(12));
        let maker = SegmentMaker::Worker { worker: 3, kind: SegmentKind::Delta };
        let sealed = SegmentName { uid: "count".into(), generation, epoch, maker };
        assert_eq!(sealed.to_string(), "segments/count/0000000007-0003-0000000012-delta.seg");
        let folded = SegmentName { maker: SegmentMaker::Fold { part: 0 }, ..sealed };
        assert_eq!(folded.to_string(), "segments/count/0000000007-fold-0000000012-0.seg");
        let bundle = BundleName { generation, worker: 3, epoch, number: 5 };
        assert_eq!(bundle.to_string(), "segments/@bundles/0000000007-0003-0000000012-5.seg");
        assert_eq!(checkpoint(CheckpointId(42)), "checkpoints/0000000042/metadata.json");
        let name: SavepointName = "before-upgrade".parse().unwrap();
        assert_eq!(parse_savepoint(&format!("{}/{METADATA}", savepoint(&name))), Some(name));
        assert_eq!(parse_request(&request("1-a")), Some(("1-a", RequestObject::Request)));
        assert_eq!(parse_request(&request_taken("1-a")), Some(("1-a", RequestObject::Taken)));
        assert_eq!(parse_request(&request_answer("1-a")), Some(("1-a", RequestObject::Answer)));
    }

    #[test]
    fn names_in_another_form_are_not_read() {
        for name in ["generations/7", "generations/+000000007", "generations/0000000007/x", "7"] {
            assert_eq!(parse_generation(name), None, "{name}");
        }
        for name in ["checkpoints/0000000042", "checkpoints/0000000042/metadata.json.tmp"] {
            assert_eq!(parse_checkpoint(name), None, "{name}");
        }
        for name in ["savepoints/a", "savepoints/a/b/metadata.json", "savepoints/42/metadata.json"]
        {
            assert_eq!(parse_savepoint(name), None, "{name}");
        }
        for name in ["requests/a.new.json", "requests/.json", "requests/a/b.json", "requests/a"] {
            assert_eq!(parse_request(name), None, "{name}");
        }
        for name in ["segments/a/1-2-3-base.seg", "segments/a%2f/0000000007-fold-0000000012-0.seg"]
        {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }
}
