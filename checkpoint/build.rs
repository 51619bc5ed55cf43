//! Tells the codec of the feature `abomonation` which compiler it is built by, and for what target.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_ABOMONATION").is_none() {
        return;
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let output = Command::new(variable("RUSTC")).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let version = version.expect("cargo names the compiler that it is going to run");
    println!("cargo::rustc-env=HIGHWATER_COMPILER={version} for {}", variable("TARGET"));
}
