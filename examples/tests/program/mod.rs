//! The examples' programs, as a person would start them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs the example `name`, in the repository's root.
///
/// # Panics
///
/// If it is not built, or was built before its sources were changed: `cargo test` builds all
/// examples, but not when it is told to run certain tests only.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(name);
    let changed = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    // Cargo lists the sources of what it builds: "PROGRAM: SOURCE SOURCE ...".
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources: Vec<_> = sources.split_whitespace().skip(1).map(Path::new).collect();
    let is_current = changed(&program).is_ok_and(|built| {
        sources.iter().all(|source| changed(source).is_ok_and(|changed| changed <= built))
    });
    let shown = program.display();
    assert!(is_current, "{shown} is missing or out of date; first: cargo build --examples");
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the root").to_owned()
}
