//! Requests that are under way, and the order in which their results are sent on.

use std::collections::VecDeque;

/// Requests of records of `T`, with results of `R`, in order of arrival.
///
/// ```text
///   waiting --start, while fewer than capacity run--> running --done--> in order, or at once: taken
/// ```
#[derive(Debug)]
pub(crate) struct Requests<T, R> {
    /// The number of the first one.
    first: u64,
    all: VecDeque<Request<T, R>>,
    /// Those before this one are started.
    started: u64,
    running: usize,
    capacity: usize,
    is_ordered: bool,
}

#[derive(Debug)]
enum Request<T, R> {
    Open(T),
    Done(T, R),
    /// Its result is taken.
    Gone,
}

impl<T, R> Requests<T, R> {
    /// At most `capacity` run at once.
    pub(crate) fn new(capacity: usize, is_ordered: bool) -> Self {
        let all = VecDeque::new();
        Requests { first: 0, all, started: 0, running: 0, capacity, is_ordered }
    }

    pub(crate) fn push(&mut self, record: T) {
        self.all.push_back(Request::Open(record));
    }

    /// The next one to start, with its number.
    pub(crate) fn start(&mut self) -> Option<(u64, &T)> {
        if self.running == self.capacity {
            return None;
        }
        let number = self.started;
        let Some(Request::Open(record)) = self.all.get((number - self.first) as usize) else {
            return None;
        };
        self.started += 1;
        self.running += 1;
        Some((number, record))
    }

    /// The result of one has come; of one that has been answered already it is dropped.
    pub(crate) fn done(&mut self, number: u64, result: R) {
        let Some(at) = number.checked_sub(self.first) else { return };
        let Some(request) = self.all.get_mut(at as usize) else { return };
        *request = match std::mem::replace(request, Request::Gone) {
            Request::Open(record) => {
                self.running -= 1;
                Request::Done(record, result)
            }
            answered => answered,
        };
    }

    /// Takes the results that may be sent on.
    pub(crate) fn take(&mut self, mut each: impl FnMut(R)) {
        if !self.is_ordered {
            for request in &mut self.all {
                if matches!(request, Request::Done(..))
                    && let Request::Done(_, result) = std::mem::replace(request, Request::Gone)
                {
                    each(result);
                }
            }
        }
        while let Some(Request::Done(..) | Request::Gone) = self.all.front() {
            if let Some(Request::Done(_, result)) = self.all.pop_front() {
                each(result);
            }
            self.first += 1;
        }
    }

    /// The records whose results are not taken, in order of arrival.
    pub(crate) fn open(&self) -> impl Iterator<Item = &T> {
        self.all.iter().filter_map(|request| match request {
            Request::Open(record) | Request::Done(record, _) => Some(record),
            Request::Gone => None,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_is_answered_once_and_never_more_run_than_may(
            is_ordered: bool,
            capacity in 1_usize..5,
            steps in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut requests = Requests::new(capacity, is_ordered);
            let (mut running, mut pushed, mut taken) = (Vec::new(), 0_u64, Vec::new());
            for (step, index) in steps {
                match step {
                    0 => {
                        requests.push(pushed);
                        pushed += 1;
                    }
                    1 => {
                        if let Some((number, record)) = requests.start() {
                            prop_assert_eq!(number, *record);
                            running.push(number);
                        }
                        prop_assert!(running.len() <= capacity);
                    }
                    2 if !running.is_empty() => {
                        let number = running.swap_remove(index.index(running.len()));
                        requests.done(number, number * 10);
                        requests.done(number, 0);
                    }
                    _ => requests.take(|result| taken.push(result / 10)),
                }
                let open: Vec<u64> = requests.open().copied().collect();
                let left = (0..pushed).filter(|record| !taken.contains(record));
                prop_assert!(open.iter().copied().eq(left));
            }
            while let Some(number) = running.pop().or_else(|| requests.start().map(|(n, _)| n)) {
                requests.done(number, number * 10);
                requests.take(|result| taken.push(result / 10));
            }
            requests.take(|result| taken.push(result / 10));
            prop_assert!(requests.is_empty());
            if !is_ordered {
                taken.sort_unstable();
            }
            prop_assert!(taken.into_iter().eq(0..pushed));
        }
    }
}
