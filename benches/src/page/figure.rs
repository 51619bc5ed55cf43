//! What is drawn of which runs: their figures by case and side, and how sides are to each other.

use super::runs::Run;
use crate::report::median;

/// A quantity, by case and side.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) title: String,
    pub(crate) unit: &'static str,
    /// Over several powers of ten, of which the small ones matter as much.
    pub(crate) is_log: bool,
    /// Whether to say how sides are to hand-written timely.
    pub(crate) has_ratios: bool,
    pub(crate) groups: Vec<Group>,
}

/// The sides of one case.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) sides: Vec<Side>,
}

/// What rounds of one side have come to.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: String,
    /// By round.
    pub(crate) values: Vec<(u64, f64)>,
}

/// The side that others are compared with.
const BASE: &str = "timely";

struct Quantity {
    field: &'static str,
    title: &'static str,
    unit: &'static str,
    /// Of the field in one unit.
    divisor: f64,
    /// Whether cases are so different that only an axis of powers of ten holds them.
    is_log: bool,
}

impl Quantity {
    const fn of(field: &'static str, title: &'static str, unit: &'static str) -> Quantity {
        Quantity { field, title, unit, divisor: 1.0, is_log: false }
    }
}

const QUANTITIES: [Quantity; 5] = [
    Quantity { divisor: 1e6, ..Quantity::of(RATE, "throughput", "million records a second") },
    Quantity::of("milliseconds", "to the first record", "milliseconds"),
    Quantity::of("percent_of_core", "CPU while idle", "% of a core"),
    Quantity::of("idle_cpu_percent", "CPU while idle", "% of a core"),
    Quantity { is_log: true, ..Quantity::of("bytes_each", "memory of each", "bytes") },
];

const RATE: &str = "records_per_second";

/// How fast its processes were filled is not what this suite is about.
const MEMORY: &str = "memory";

/// The percentiles of latency, each a group of its own.
const LATENCIES: [(&str, &str); 4] =
    [("p50_ms", "p50"), ("p99_ms", "p99"), ("p99_9_ms", "p99.9"), ("max_ms", "max")];

impl Side {
    pub(crate) fn all(&self) -> Vec<f64> {
        self.values.iter().map(|(_, value)| *value).collect()
    }

    pub(crate) fn median(&self) -> f64 {
        median(&self.all())
    }

    pub(crate) fn least(&self) -> f64 {
        self.all().into_iter().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn greatest(&self) -> f64 {
        self.all().into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The ratios to another side: the sides of a run alternate, so that the n-th of one is of the same
    /// time as the n-th of the other, also where several runs were appended to a file.
    fn ratios(&self, other: &Side) -> Vec<f64> {
        let pairs = self.values.iter().zip(&other.values);
        let same_rounds = pairs.filter(|((round, _), (theirs, _))| round == theirs);
        let ratios = same_rounds.map(|((_, value), (_, other))| value / other);
        ratios.filter(|ratio| ratio.is_finite()).collect()
    }
}

impl Group {
    /// How a side is to hand-written timely, round by round; empty if that is not there, or is this one.
    pub(crate) fn ratios(&self, side: &Side) -> Vec<f64> {
        self.ratios_to(side, BASE)
    }

    /// How a side is to another one, round by round.
    pub(crate) fn ratios_to(&self, side: &Side, other: &str) -> Vec<f64> {
        let base = self.sides.iter().find(|base| base.name == other && side.name != other);
        base.map_or_else(Vec::new, |base| side.ratios(base))
    }
}

/// All figures of the runs of one suite.
pub(crate) fn figures(suite: &str, runs: &[&Run]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for quantity in QUANTITIES.iter().filter(|q| q.field != RATE || suite != MEMORY) {
        let groups = groups(runs, |run| Some((run.case.clone(), run.number(quantity.field)?)));
        let groups = groups.into_iter().map(|mut group| {
            let values = group.sides.iter_mut().flat_map(|side| &mut side.values);
            values.for_each(|(_, value)| *value /= quantity.divisor);
            group
        });
        figures.push(Figure {
            title: format!("{suite}: {}", quantity.title),
            unit: quantity.unit,
            is_log: quantity.is_log,
            has_ratios: quantity.field == RATE,
            groups: groups.collect(),
        });
    }
    let latencies = LATENCIES.iter().flat_map(|(field, name)| {
        groups(runs, |run| Some((format!("{}: {name}", run.case), run.number(field)?)))
    });
    figures.push(Figure {
        title: format!("{suite}: from when an event was due"),
        unit: "milliseconds",
        is_log: true,
        has_ratios: false,
        groups: latencies.collect(),
    });
    figures.retain(|figure| !figure.groups.is_empty());
    figures
}

/// Runs by a name and by side, in the order in which they come first.
fn groups(runs: &[&Run], of: impl Fn(&Run) -> Option<(String, f64)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for run in runs {
        let Some((name, value)) = of(run) else { continue };
        let make = || Group { name: name.clone(), sides: Vec::new() };
        let group = found_or(&mut groups, |group| group.name == name, make);
        let make = || Side { name: run.side.clone(), values: Vec::new() };
        let side = found_or(&mut group.sides, |side| side.name == run.side, make);
        side.values.push((run.round, value));
    }
    groups
}

fn found_or<T>(all: &mut Vec<T>, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let at = all.iter().position(is_it).unwrap_or_else(|| {
        all.push(make());
        all.len() - 1
    });
    &mut all[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(case: &str, side: &str, round: u64, rate: f64) -> Run {
        let fields = serde_json::json!({ "records_per_second": rate, "p99_ms": rate / 1e6 });
        let serde_json::Value::Object(fields) = fields else { unreachable!() };
        let (case, side) = (case.to_owned(), side.to_owned());
        Run { suite: "test".to_owned(), case, side, round, fields }
    }

    #[test]
    fn runs_are_grouped_and_compared_round_by_round() {
        let runs = [
            run("q0", "timely", 0, 10e6),
            run("q0", "engine", 0, 20e6),
            run("q1", "engine", 0, 5e6),
            run("q0", "timely", 1, 20e6),
            run("q0", "engine", 1, 10e6),
        ];
        let figures = figures("test", &runs.iter().collect::<Vec<_>>());
        assert_eq!(figures.len(), 2, "throughput and latency");
        let groups = &figures[0].groups;
        assert_eq!(groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["q0", "q1"]);
        let (timely, engine) = (&groups[0].sides[0], &groups[0].sides[1]);
        assert_eq!(groups[0].ratios(engine), [2.0, 0.5]);
        assert!(
            groups[0].ratios(timely).is_empty() && groups[1].ratios(&groups[1].sides[0]).is_empty()
        );
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(engine.median(), 15.0)
                && near(engine.least(), 10.0)
                && near(engine.greatest(), 20.0)
        );
        assert_eq!(figures[1].groups[0].name, "q0: p99");
    }
}
