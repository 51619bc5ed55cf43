//! The examples' programs, as a person would start them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A command that runs the example `name`, in the repository's root.
///
/// # Panics
///
/// If it is not built: `cargo test` builds all examples, unless it is told to build one test only.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/TEST");
    let program = profile.join("examples").join(name);
    let shown = program.display();
    assert!(program.exists(), "{shown} is missing; first: cargo build --examples");
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the root").to_owned()
}
