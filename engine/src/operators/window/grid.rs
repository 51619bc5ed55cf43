//! How times fall into windows whose bounds do not depend on the records, and into the slices that
//! those windows are made of.
//!
//! ```text
//!   windows  |---------------|            a slice ends where a window begins or ends, so that each
//!                 |---------------|       window is a row of whole slices, and a record is in one
//!   slices   |----|----------|----|---
//! ```
//!
//! A window is named by its end, a slice by its own; both are in milliseconds. Times are within
//! [`TIME_MAX`] of 1970, and spans at most [`SPAN_MAX`], so that nothing overflows.

use super::days::Days;

/// Times further from 1970 than this, 146 million years, count as this.
pub(crate) const TIME_MAX: i64 = 1 << 62;

/// The longest window, slide, step, gap and offset: a million years.
pub(crate) const SPAN_MAX: i64 = 31_556_952_000 * 1_000_000;

/// How many windows a record may be in: those of a day by the second, and some.
pub(crate) const OVERLAP_MAX: i64 = 100_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grid {
    /// Windows of `size`, one of which begins every `slide`, which is no longer. Tumbling ones are those
    /// of which the two are the same.
    Sliding { size: i64, slide: i64, offset: i64 },
    /// Windows that begin every `max`, and end every `step` from there to `max`, of which it is a part.
    Cumulating { max: i64, step: i64, offset: i64 },
    /// Calendar days, one after the other.
    Days(Days),
    /// One window, of everything. It ends when time does.
    Global,
}

/// A slice: the times from `start` to before `end`, and the first and the last window with it in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Slice {
    /// Holds no time.
    pub(crate) const NONE: Slice = Slice { start: i64::MAX, end: i64::MIN, first: 0, last: 0 };

    #[inline]
    pub(crate) fn holds(&self, at: i64) -> bool {
        self.start <= at && at < self.end
    }
}

/// Times are this much and no more.
pub(crate) fn clamp(at: i64) -> i64 {
    at.clamp(-TIME_MAX, TIME_MAX)
}

/// The last of `offset`, `offset` + `every` and so on, in both directions, that is at `at` or before.
fn floor(at: i64, every: i64, offset: i64) -> i64 {
    at - (at - offset).rem_euclid(every)
}

impl Grid {
    /// Whether a record is in one window.
    pub(crate) fn is_disjoint(&self) -> bool {
        match self {
            Grid::Sliding { size, slide, .. } => size == slide,
            Grid::Cumulating { max, step, .. } => max == step,
            Grid::Days(_) | Grid::Global => true,
        }
    }

    /// The slice that `at` is in.
    ///
    /// This divides, which takes as long as the rest of the work on a record: who has many times that
    /// are near each other asks the last slice first.
    pub(crate) fn slice(&self, at: i64) -> Slice {
        let (start, end) = self.bounds(at);
        Slice { start, end, first: self.first_of(end), last: self.last_of(end) }
    }

    /// Where the slice that `at` is in begins and ends.
    fn bounds(&self, at: i64) -> (i64, i64) {
        match *self {
            Grid::Sliding { size, slide, offset } => {
                let start = floor(at, slide, offset);
                // Windows end there, if the slides of a size are not whole.
                let cut = size % slide;
                if at - start < cut { (start, start + cut) } else { (start + cut, start + slide) }
            }
            Grid::Cumulating { step, offset, .. } => {
                let start = floor(at, step, offset);
                (start, start + step)
            }
            Grid::Days(ref days) => days.day(at),
            Grid::Global => (i64::MIN, i64::MAX),
        }
    }

    /// The first window with slice `slice` in it.
    #[inline]
    pub(crate) fn first_of(&self, slice: i64) -> i64 {
        match self {
            Grid::Sliding { .. } => self.next(slice - 1),
            Grid::Cumulating { .. } | Grid::Days(_) | Grid::Global => slice,
        }
    }

    /// The last window with slice `slice` in it.
    #[inline]
    pub(crate) fn last_of(&self, slice: i64) -> i64 {
        match *self {
            Grid::Sliding { size, slide, offset } => floor(slice - 1, slide, offset) + size,
            Grid::Cumulating { max, offset, .. } => floor(slice - 1, max, offset) + max,
            Grid::Days(_) => slice,
            Grid::Global => i64::MAX,
        }
    }

    /// The first window that ends after `at`.
    #[inline]
    pub(crate) fn next(&self, at: i64) -> i64 {
        match *self {
            Grid::Sliding { size, slide, offset } => floor(at, slide, offset + size) + slide,
            Grid::Cumulating { step, offset, .. } => floor(at, step, offset) + step,
            Grid::Days(ref days) => days.day(at).1,
            Grid::Global => i64::MAX,
        }
    }

    /// The window after window `window`.
    #[inline]
    pub(crate) fn following(&self, window: i64) -> i64 {
        match *self {
            Grid::Sliding { slide: step, .. } | Grid::Cumulating { step, .. } => {
                window.saturating_add(step)
            }
            Grid::Days(_) | Grid::Global => self.next(window),
        }
    }

    /// Where window `window` begins.
    #[inline]
    pub(crate) fn start(&self, window: i64) -> i64 {
        match *self {
            Grid::Sliding { size, .. } => window - size,
            Grid::Cumulating { max, offset, .. } => floor(window - 1, max, offset),
            Grid::Days(ref days) => days.day(window - 1).0,
            Grid::Global => i64::MIN,
        }
    }

    /// The windows that `at` is in, the first that ends first.
    #[cfg(test)]
    pub(crate) fn windows(&self, at: i64) -> impl Iterator<Item = i64> + '_ {
        let Slice { first, last, .. } = self.slice(at);
        std::iter::successors(Some(first), move |window| {
            (*window < last).then(|| self.following(*window))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grids() -> impl Strategy<Value = Grid> {
        let sliding = (1i64..50, 1i64..50, -60i64..60).prop_map(|(a, b, offset)| Grid::Sliding {
            size: a.max(b),
            slide: a.min(b),
            offset,
        });
        let cumulating = (1i64..9, 1i64..20, -60i64..60)
            .prop_map(|(steps, step, offset)| Grid::Cumulating { max: steps * step, step, offset });
        prop_oneof![sliding, cumulating]
    }

    /// All windows around 0, by their definition.
    fn all(grid: &Grid) -> Vec<(i64, i64)> {
        let mut all = Vec::new();
        for n in -400..400 {
            match *grid {
                Grid::Sliding { size, slide, offset } => {
                    all.push((offset + n * slide, offset + n * slide + size));
                }
                Grid::Cumulating { max, step, offset } => {
                    let start = offset + n * max;
                    all.extend((1..=max / step).map(|k| (start, start + k * step)));
                }
                // `days` has tests of its own.
                Grid::Days(_) | Grid::Global => {}
            }
        }
        all.sort_by_key(|(_, end)| *end);
        all
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_windows_that_hold_it(grid in grids(), at in -150i64..150) {
            let holding = |at: i64| -> Vec<(i64, i64)> {
                all(&grid).into_iter().filter(|(start, end)| (*start..*end).contains(&at)).collect()
            };
            let found: Vec<_> = grid.windows(at).map(|end| (grid.start(end), end)).collect();
            prop_assert_eq!(&found, &holding(at));
            prop_assert_eq!(grid.is_disjoint(), (-150..150).all(|at| holding(at).len() == 1));
            // A slice goes as far as its times are in the same windows.
            let slice = grid.slice(at);
            prop_assert!(slice.holds(at) && !slice.holds(slice.end) && !slice.holds(slice.start - 1));
            for other in slice.start..slice.end {
                prop_assert_eq!(&holding(other), &found);
                prop_assert_eq!(grid.slice(other), slice);
            }
            let next = all(&grid).into_iter().map(|(_, end)| end).find(|end| *end > at);
            prop_assert_eq!(Some(grid.next(at)), next);
            prop_assert_eq!(next.map(|next| grid.following(next)), next.map(|next| grid.next(next)));
        }
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_time() {
        for at in [i64::MIN, i64::MAX, 0].map(clamp) {
            for offset in [-SPAN_MAX, -1, 0, SPAN_MAX] {
                for grid in [
                    Grid::Sliding { size: SPAN_MAX, slide: SPAN_MAX / OVERLAP_MAX, offset },
                    Grid::Sliding { size: 7, slide: 3, offset },
                    Grid::Cumulating { max: SPAN_MAX, step: SPAN_MAX / 2, offset },
                    Grid::Days(Days::of("America/New_York").unwrap()),
                    Grid::Global,
                ] {
                    let count = grid.windows(at).inspect(|end| {
                        assert!(grid.start(*end) <= at && at < *end, "{grid:?} {at}");
                    });
                    assert!(count.count() > 0);
                }
            }
        }
    }
}
