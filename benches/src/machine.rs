//! What is to be said of the machine and of this process.

/// Peak resident memory of this process, bytes; none where the system does not tell.
pub(crate) fn peak_memory() -> Option<u64> {
    memory("VmHWM:")
}

/// Resident memory of this process, bytes; none where the system does not tell.
pub(crate) fn resident_memory() -> Option<u64> {
    memory("VmRSS:")
}

fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// CPU seconds that this process has used.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

/// Processor and number of cores, for the head of a report.
pub(crate) fn describe() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{}, {cores} cores", model.map_or("unknown processor", |(_, name)| name))
}

/// Lets [`peak_memory`] begin anew, from what is resident now; whether the system does that.
pub(crate) fn reset_peak_memory() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// What was built of what: our version, that of timely, that of the compiler.
pub(crate) fn versions() -> String {
    let lock = include_str!("../../Cargo.lock");
    let timely = lock
        .split("name = \"timely\"\nversion = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    format!(
        "highwater {}, timely {}, {}",
        env!("CARGO_PKG_VERSION"),
        timely.unwrap_or("of an unknown version"),
        first_line("rustc", &["--version"])
    )
}

/// The commit that the sources are of, with `-dirty` if they are not quite.
pub(crate) fn commit() -> String {
    first_line("git", &["describe", "--always", "--dirty", "--exclude=*"])
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let text = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    text.lines().next().map_or_else(|| format!("{program} unknown"), String::from)
}
