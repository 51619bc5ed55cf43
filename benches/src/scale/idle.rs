//! What a job costs that has nothing to do, by the number of its operators.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::Job;
use highwater::checkpoint::run::Run;
use highwater_connectors::generator::GeneratorSource;
use rustix::time::{ClockId, clock_gettime};

use super::Result;

/// Between two looks whether the job has begun.
const LOOK: Duration = Duration::from_millis(5);

/// What one run has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    /// CPU seconds of the whole process, a second.
    pub(crate) cores: f64,
    pub(crate) checkpoints: u64,
}

/// Builds so many keyed operators, one after the other, lets a record pass through all of them, and watches
/// the job do nothing for so long; with checkpoints in the folder if there is one.
pub(crate) fn run(
    operators: usize,
    workers: usize,
    lasts: Duration,
    folder: Option<&Path>,
) -> Result<Idle> {
    let mut job = Job::new("idle").workers(workers).quiet();
    if let Some(folder) = folder {
        job = job.checkpoint_dir(folder.to_string_lossy());
    }
    let begun: Arc<Mutex<Option<Arc<Run>>>> = Arc::default();
    let for_job = Arc::clone(&begun);
    let thread = std::thread::Builder::new().name("idle job".to_owned());
    let job = thread.spawn(move || {
        let built = job.execute(move |flow| {
            // One record at once, and the next when nobody waits for it any more.
            let source = GeneratorSource::endless(|i| i).rate(1e-6).splits(1);
            let mut stream = flow.source("numbers", source);
            for nth in 0..operators {
                let counted = stream.key_by(|number| *number).count(&format!("count-{nth}"));
                stream = counted.map(|(number, _)| number);
            }
            let (run, begun) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&for_job));
            stream.for_each(move |_| {
                // Nobody panics with it.
                *begun.lock().expect("only here and below") = Some(Arc::clone(&run));
            });
        });
        built.map_err(|error| error.to_string())
    })?;
    let run = loop {
        if job.is_finished() {
            job.join().map_err(|_| "the job panicked")??;
            return Err("the job ended by itself".into());
        }
        if let Some(run) = begun.lock().map_err(|_| "the job panicked")?.clone() {
            break run;
        }
        std::thread::sleep(LOOK);
    };
    // What the start has left to do.
    std::thread::sleep(lasts / 5);
    let (before, checkpoints) = (cpu(), run.status().completed());
    std::thread::sleep(lasts);
    let cores = cpu().saturating_sub(before).as_secs_f64() / lasts.as_secs_f64();
    let checkpoints = run.status().completed() - checkpoints;
    run.control().request_stop();
    job.join().map_err(|_| "the job panicked")??;
    Ok(Idle { cores, checkpoints })
}

/// CPU time of this process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it costs is not looked at: the CPU time is that of all tests of the process.
    #[test]
    fn a_record_passes_all_operators_with_checkpoints_or_without() {
        let folder = tempfile::tempdir().unwrap();
        for folder in [None, Some(folder.path())] {
            let idle = run(20, 2, Duration::from_millis(100), folder).unwrap();
            assert!(idle.cores > 0.0 && idle.checkpoints == 0, "{idle:?}");
        }
    }
}
