//! Notices a turn that does not end, which the thread that makes it cannot: says its seed, and ends the program.

#![expect(clippy::disallowed_methods, reason = "watches other threads by the wall clock")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Duration, Instant};

/// A turn takes microseconds, and a start, which is one of them, some milliseconds.
const TURN_MAX: Duration = Duration::from_secs(120);

/// What cargo knows for a test that has failed.
const EXIT_FAILED: i32 = 101;

/// The simulation of one thread.
struct Watched {
    seed: AtomicU64,
    turns: AtomicU64,
}

static ALL: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());

thread_local! {
    static HERE: Arc<Watched> = {
        static WATCHING: Once = Once::new();
        WATCHING.call_once(|| drop(std::thread::spawn(watch)));
        let here = Arc::new(Watched { seed: AtomicU64::new(0), turns: AtomicU64::new(0) });
        ALL.lock().unwrap().push(Arc::downgrade(&here));
        here
    };
}

/// This thread simulates `seed` from now on.
pub(crate) fn begin(seed: u64) {
    HERE.with(|here| here.seed.store(seed, Ordering::Relaxed));
    turn();
}

/// A turn begins.
pub(crate) fn turn() {
    HERE.with(|here| here.turns.fetch_add(1, Ordering::Relaxed));
}

fn watch() {
    let mut last: Vec<(u64, Instant)> = Vec::new();
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let all = ALL.lock().unwrap();
        last.resize(all.len(), (0, Instant::now()));
        for (watched, (turns, since)) in all.iter().zip(&mut last) {
            let Some(watched) = watched.upgrade() else { continue };
            let now = watched.turns.load(Ordering::Relaxed);
            if now != *turns {
                (*turns, *since) = (now, Instant::now());
            } else if since.elapsed() > TURN_MAX {
                let seed = watched.seed.load(Ordering::Relaxed);
                eprintln!("seed {seed}: a turn does not end\n\n{}", super::how_to_see(seed));
                std::process::exit(EXIT_FAILED);
            }
        }
    }
}
