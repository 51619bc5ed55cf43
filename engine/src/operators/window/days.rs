//! Days of a calendar: from midnight to midnight in a time zone, which may be 23 or 25 hours.

use std::cell::Cell;
use std::fmt;

use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

/// Milliseconds of a day without a change of clocks.
const DAY: i64 = 86_400_000;

/// The days of a time zone, by the database of zones that is compiled in: the same on all machines.
#[derive(Clone)]
pub(crate) struct Days {
    zone: TimeZone,
    /// The day that was asked for last: most records are in that.
    last: Cell<(i64, i64)>,
}

impl Days {
    /// Those of the zone with this name in the IANA database; what is wrong with it if there is none.
    pub(crate) fn of(zone: &str) -> Result<Days, String> {
        let found = TimeZone::get(zone).map_err(|error| {
            format!(
                "no time zone is named {zone:?}: use a name of the IANA database such as \
                 \"America/New_York\", or \"UTC\" ({error})"
            )
        });
        Ok(Days { zone: found?, last: Cell::new((0, 0)) })
    }

    /// The day that `at` is in: when it begins, and when the next one does.
    ///
    /// A day begins when its midnight is first on the clocks. Where clocks go back over midnight, the
    /// hour that comes twice is of the later day both times. Beyond the years 1 to 9999 days are
    /// those of UTC.
    #[inline]
    pub(crate) fn day(&self, at: i64) -> (i64, i64) {
        let last = self.last.get();
        if last.0 <= at && at < last.1 {
            return last;
        }
        let day = self.find(at).unwrap_or_else(|| {
            let start = at - at.rem_euclid(DAY);
            (start, start + DAY)
        });
        self.last.set(day);
        day
    }

    fn find(&self, at: i64) -> Option<(i64, i64)> {
        let instant = Timestamp::from_millisecond(at).ok()?;
        let mut date = self.zone.to_datetime(instant).date();
        if !(1..=9998).contains(&date.year()) {
            return None;
        }
        let mut start = self.midnight(date)?;
        loop {
            date = date.tomorrow().ok()?;
            let end = self.midnight(date)?;
            if at < end {
                return (start <= at).then_some((start, end));
            }
            start = end;
        }
    }

    /// When a date begins. One that a zone has left out begins when the next one does.
    fn midnight(&self, date: Date) -> Option<i64> {
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

impl PartialEq for Days {
    fn eq(&self, other: &Days) -> bool {
        self.zone == other.zone
    }
}

impl Eq for Days {}

impl fmt::Debug for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Days").field(&self.zone.iana_name().unwrap_or("UTC")).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn day(zone: &str, at: &str) -> (i64, i64) {
        Days::of(zone).unwrap().day(ms(at))
    }

    #[test]
    fn days_are_an_hour_shorter_and_longer_when_clocks_change() {
        let new_york = |at| day("America/New_York", at);
        let spring = (ms("2013-03-10T05:00:00Z"), ms("2013-03-11T04:00:00Z"));
        assert_eq!(new_york("2013-03-10T05:00:00Z"), spring);
        assert_eq!(new_york("2013-03-11T03:59:59.999Z"), spring);
        let autumn = (ms("2013-11-03T04:00:00Z"), ms("2013-11-04T05:00:00Z"));
        assert_eq!(new_york("2013-11-03T06:30:00Z"), autumn);
        assert_eq!(new_york("2013-11-03T03:59:59.999Z").1, autumn.0);
        assert_eq!((spring.1 - spring.0, autumn.1 - autumn.0), (DAY - 3_600_000, DAY + 3_600_000));
    }

    #[test]
    fn midnight_that_comes_twice_begins_the_day_once() {
        // At 00:01 on the 7th of November 2010 clocks went back to 23:01.
        let seventh = day("America/Goose_Bay", "2010-11-07T12:00:00Z");
        assert_eq!(seventh, (ms("2010-11-07T03:00:00Z"), ms("2010-11-08T04:00:00Z")));
        assert_eq!(day("America/Goose_Bay", "2010-11-07T03:30:00Z"), seventh);
    }

    #[test]
    fn a_date_that_a_zone_has_left_out_is_no_day() {
        // After the 29th of December 2011 came the 31st.
        let last = day("Pacific/Apia", "2011-12-30T09:00:00Z");
        assert_eq!(last, (ms("2011-12-29T10:00:00Z"), ms("2011-12-30T10:00:00Z")));
        assert_eq!(day("Pacific/Apia", "2011-12-30T10:00:00Z").0, last.1);
    }

    #[test]
    fn a_zone_that_is_not_there_is_named() {
        let error = Days::of("Mars/Olympus_Mons").unwrap_err();
        assert!(error.starts_with("no time zone is named \"Mars/Olympus_Mons\""), "{error}");
    }

    proptest! {
        #[test]
        fn each_time_is_in_one_day(
            zone in prop::sample::select(vec![
                "UTC", "America/New_York", "America/Goose_Bay", "Pacific/Apia", "Asia/Kolkata",
                "America/Sao_Paulo", "Africa/Cairo", "Australia/Lord_Howe",
            ]),
            at in prop_oneof![-(1i64 << 41)..1i64 << 42, any::<i64>().prop_map(super::super::grid::clamp)],
        ) {
            let days = Days::of(zone).unwrap();
            let (start, end) = days.day(at);
            prop_assert!(start <= at && at < end && end - start <= 2 * DAY);
            for other in [start, end - 1, start.midpoint(end)] {
                // As another would find it, who was not asked before.
                prop_assert_eq!(Days::of(zone).unwrap().day(other), (start, end));
            }
            prop_assert_eq!(days.day(end).0, end);
            prop_assert_eq!(days.day(start - 1).1, start);
        }
    }
}
