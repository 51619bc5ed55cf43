//! The value of each window of a row of overlapping ones, for a constant number of merges a window.
//!
//! ```text
//!   slices      1    2    3  |  4    5          front: of each slice its merge with all up to the bar
//!   front     1+2+3 2+3   3  |                  back:  each after it as it is, and the merge of all
//!   back                     |  4    5   4+5    window of 2 to 5: (2+3) + (4+5)
//! ```
//!
//! When the front is used up, and a slice of the back is to leave, the back becomes the front: each
//! slice is merged once into the front and once into the back, and read once from the state.
//!
//! Tangwongsan, Hirzel, Schneider, Wu: General incremental sliding-window aggregation, VLDB 2015.

/// See the module. Slices are named by their ends.
#[derive(Debug)]
pub(super) struct Running<A> {
    /// The oldest slice last.
    front: Vec<(i64, A)>,
    /// The oldest slice first.
    back: Vec<(i64, A)>,
    merged: Option<A>,
    /// The last window that was asked for.
    until: i64,
}

impl<A> Default for Running<A> {
    fn default() -> Self {
        Running { front: Vec::new(), back: Vec::new(), merged: None, until: i64::MIN }
    }
}

impl<A: Clone> Running<A> {
    /// A slice has changed, or has come: if it was merged, all has to be merged again.
    pub(super) fn changed(&mut self, slice: i64) {
        if slice <= self.until {
            *self = Running::default();
        }
    }

    /// The merge of those of `slices`, which are in order, whose names are above `start` and not above
    /// `end`; none, if there are none. Both bounds have grown since the last time.
    pub(super) fn window(
        &mut self,
        (start, end): (i64, i64),
        slices: impl DoubleEndedIterator<Item = i64>,
        value: impl Fn(i64) -> Option<A>,
        merge: impl Fn(&mut A, A),
    ) -> Option<A> {
        let (from, after) = (self.back.len(), self.until.max(start));
        let new = slices.rev().skip_while(|slice| *slice > end).take_while(|slice| *slice > after);
        self.back.extend(new.filter_map(|slice| Some((slice, value(slice)?))));
        self.back[from..].reverse();
        for (_, value) in &self.back[from..] {
            match &mut self.merged {
                Some(merged) => merge(merged, value.clone()),
                None => self.merged = Some(value.clone()),
            }
        }
        self.until = end;
        while self.front.last().is_some_and(|(slice, _)| *slice <= start) {
            self.front.pop();
        }
        if self.back.first().is_some_and(|(oldest, _)| *oldest <= start) {
            self.turn(start, &merge);
        }
        match (self.front.last(), &self.merged) {
            (Some((_, front)), Some(back)) => {
                let mut merged = front.clone();
                merge(&mut merged, back.clone());
                Some(merged)
            }
            (Some((_, only)), None) | (None, Some(only)) => Some(only.clone()),
            (None, None) => None,
        }
    }

    /// Makes the back the front, but for what has left the window: all of the front has.
    fn turn(&mut self, start: i64, merge: impl Fn(&mut A, A)) {
        std::mem::swap(&mut self.front, &mut self.back);
        self.back.clear();
        self.merged = None;
        let gone = self.front.partition_point(|(slice, _)| *slice <= start);
        self.front.drain(..gone);
        self.front.reverse();
        for at in 1..self.front.len() {
            let (later, earlier) = self.front.split_at_mut(at);
            merge(&mut earlier[0].1, later[at - 1].1.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_window_is_the_merge_of_its_slices_in_order(
            size in 1i64..12,
            steps in prop::collection::vec((1i64..5, prop::collection::vec(-14i64..4, 0..3)), 1..60),
        ) {
            let (mut slices, mut running) = (BTreeMap::<i64, String>::new(), Running::default());
            let mut end = 0;
            for (number, (slide, changed)) in steps.into_iter().enumerate() {
                end += slide;
                for at in changed {
                    let value = char::from(b'a' + (number % 26) as u8);
                    slices.entry(end + at).or_default().push(value);
                    running.changed(end + at);
                }
                let found = running.window(
                    (end - size, end),
                    slices.keys().copied(),
                    |slice| slices.get(&slice).cloned(),
                    |earlier, later| earlier.push_str(&later),
                );
                let right: String = slices.range(end - size + 1..=end).map(|(_, v)| &**v).collect();
                prop_assert_eq!(found.unwrap_or_default(), right);
            }
        }
    }

    #[test]
    fn a_window_takes_a_constant_number_of_merges() {
        let (merges, windows, size) = (Cell::new(0), 10_000, 1_000);
        let mut running = Running::default();
        for end in 1..=windows {
            let slices = (end - size).max(1)..=end;
            let merge = |sum: &mut i64, other: i64| {
                merges.set(merges.get() + 1);
                *sum += other;
            };
            let found = running.window((end - size, end), slices.clone(), Some, merge);
            assert_eq!(found, Some(slices.filter(|slice| *slice > end - size).sum()));
        }
        assert!(merges.get() <= 3 * windows, "{} merges", merges.get());
    }
}
