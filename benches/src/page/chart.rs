//! Figures as SVG: bars with their spread and ratios, lines over time. No scripts, no fonts, no colours that
//! only one of a light and a dark page can show.

use std::fmt::Write as _;

use super::figure::{Figure, Group, Side};
use crate::report::median;

const WIDTH: f64 = 880.0;
/// Where bars begin, and how much is left for the text behind them.
const LEFT: f64 = 210.0;
const RIGHT: f64 = 210.0;
const BAR: f64 = 13.0;
const ROW: f64 = 19.0;
const HEADING: f64 = 24.0;
const TOP: f64 = 34.0;
/// The axis, its numbers and its unit.
const BOTTOM: f64 = 44.0;

/// For both kinds of page: what is not text or grid is of middling lightness.
pub(crate) const STYLE: &str = "\
.chart text{font:12px system-ui,sans-serif;fill:#24292f}\
.chart .title{font-weight:600;font-size:14px}.chart .heading{font-weight:600}\
.chart .axis{fill:#57606a}.chart .grid{stroke:#d0d7de;stroke-width:1}\
.chart .spread{stroke:#24292f;stroke-width:1.2;fill:none}\
@media(prefers-color-scheme:dark){.chart text{fill:#e6edf3}.chart .axis{fill:#9da7b1}\
.chart .grid{stroke:#3a424c}.chart .spread{stroke:#e6edf3}}";

/// Sides that are known have a colour of their own on every chart.
const COLOURS: [(&str, &str); 9] = [
    ("timely", "#8c959f"),
    ("engine", "#3b82f6"),
    ("checkpoints", "#e8912d"),
    ("loop", "#2da44e"),
    ("flink", "#d6409f"),
    ("renoir", "#8957e5"),
    ("bytewax", "#b8860b"),
    ("differential", "#1b9e9e"),
    ("process", "#57a0a0"),
];

fn colour(side: &str) -> &'static str {
    let known = COLOURS.iter().find(|(name, _)| side == *name);
    let begins = || COLOURS.iter().find(|(name, _)| side.starts_with(name));
    known.or_else(begins).map_or("#6e7fd0", |(_, colour)| colour)
}

/// A number with three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "-".to_owned(),
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.995 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// From values to places.
struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    fn of(figure: &Figure) -> Scale {
        let sides = || figure.groups.iter().flat_map(|group| &group.sides);
        let high = sides().map(Side::greatest).fold(f64::MIN_POSITIVE, f64::max);
        let low = sides().map(Side::least).filter(|least| *least > 0.0).fold(high, f64::min);
        if figure.is_log {
            let (low, high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
            return Scale { low, high: if high > low { high } else { low * 10.0 }, is_log: true };
        }
        let step = step(high);
        Scale { low: 0.0, high: (high / step).ceil() * step, is_log: false }
    }

    fn x(&self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            value / self.high
        };
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let powers = (self.high / self.low).log10().round() as i32;
            return (0..=powers).map(|power| self.low * 10_f64.powi(power)).collect();
        }
        let step = step(self.high);
        (0..=(self.high / step).round() as u32).map(|nth| f64::from(nth) * step).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that there are three to eight steps.
fn step(high: f64) -> f64 {
    let power = 10_f64.powf((high / 5.0).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.into_iter().map(|f| f * power).find(|step| high / step <= 6.0).unwrap_or(power * 10.0)
}

/// Bars of medians, with lines from the least to the greatest; points in place of bars where the axis is
/// logarithmic, on which a bar's length would say nothing.
pub(crate) fn bars(figure: &Figure) -> String {
    let scale = Scale::of(figure);
    let rows: usize = figure.groups.iter().map(|group| group.sides.len()).sum();
    let height = TOP + figure.groups.len() as f64 * HEADING + rows as f64 * ROW + BOTTOM;
    let end = height - BOTTOM;
    let mut svg = begin(height, &figure.title);
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{end:.1}"/><text class="axis" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            end + 15.0,
            tick_label(tick)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{LEFT}" y="{:.1}">{}: median, and least to greatest{}</text>"#,
        end + 33.0,
        escape(figure.unit),
        if figure.has_ratios { "; ratio to hand-written timely" } else { "" }
    );
    let mut y = TOP;
    for group in &figure.groups {
        let name = escape(&group.name);
        let _ = write!(svg, r#"<text class="heading" x="8" y="{:.1}">{name}</text>"#, y + 17.0);
        y += HEADING;
        for side in &group.sides {
            row(&mut svg, figure, group, side, &scale, y);
            y += ROW;
        }
    }
    svg + "</svg>"
}

fn row(svg: &mut String, figure: &Figure, group: &Group, side: &Side, scale: &Scale, y: f64) {
    let (middle, text) = (y + BAR / 2.0, y + BAR - 2.0);
    let (least, greatest) = (scale.x(side.least()), scale.x(side.greatest()));
    let (x, fill) = (scale.x(side.median()), colour(&side.name));
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{text:.1}" text-anchor="end">{}</text>"#,
        LEFT - 8.0,
        escape(&side.name)
    );
    if figure.is_log {
        let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{middle:.1}" r="4.5" fill="{fill}"/>"#);
    } else {
        let width = x - LEFT;
        let _ = write!(
            svg,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{width:.1}" height="{BAR}" rx="1.5" fill="{fill}"/>"#
        );
    }
    let (up, down) = (middle - 3.0, middle + 3.0);
    let _ = write!(
        svg,
        r#"<path class="spread" d="M{least:.1} {up:.1}V{down:.1}M{least:.1} {middle:.1}H{greatest:.1}M{greatest:.1} {up:.1}V{down:.1}"/>"#
    );
    let mut label = number(side.median());
    let ratios = group.ratios(side);
    if figure.has_ratios && !ratios.is_empty() {
        let _ = write!(label, "  ({:.2}x)", median(&ratios));
    }
    let _ = write!(svg, r#"<text x="{:.1}" y="{text:.1}">{label}</text>"#, greatest.max(x) + 8.0);
}

/// One line over what is counted along the axis, with levels that matter.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) title: String,
    pub(crate) unit: &'a str,
    pub(crate) along: &'a str,
    /// What the first and the last value are of.
    pub(crate) ends: (String, String),
    /// Name and values, one a step.
    pub(crate) lines: Vec<(String, Vec<f64>)>,
    /// From zero, or from the least value to the greatest.
    pub(crate) levels: Vec<(f64, String)>,
}

/// Lines from left to right over zero.
pub(crate) fn lines(chart: &Line<'_>) -> String {
    const HEIGHT: f64 = 240.0;
    const LEFT: f64 = 60.0;
    const RIGHT: f64 = 130.0;
    let (top, bottom) = (TOP + 6.0, HEIGHT - BOTTOM);
    let values = || chart.lines.iter().flat_map(|(_, values)| values.iter().copied());
    let levels = chart.levels.iter().map(|(level, _)| *level);
    let greatest = values().chain(levels).fold(f64::MIN_POSITIVE, f64::max);
    let step = step(greatest);
    let high = (greatest / step).ceil() * step;
    let y = |value: f64| bottom - (value / high).clamp(0.0, 1.0) * (bottom - top);
    let longest = chart.lines.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let x = |at: usize| LEFT + at as f64 / (longest.max(2) - 1) as f64 * (WIDTH - LEFT - RIGHT);
    let mut svg = begin(HEIGHT, &chart.title);
    for nth in 0..=(high / step).round() as u32 {
        let (value, end) = (f64::from(nth) * step, WIDTH - RIGHT);
        let at = y(value);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{end}" y1="{at:.1}" y2="{at:.1}"/><text class="axis" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            tick_label(value)
        );
    }
    for (level, name) in &chart.levels {
        let (at, end) = (y(*level), WIDTH - RIGHT);
        let _ = write!(
            svg,
            r#"<path class="spread" stroke-dasharray="4 3" d="M{LEFT} {at:.1}H{end}"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            end + 6.0,
            at + 4.0,
            escape(name)
        );
    }
    for (at, (name, values)) in chart.lines.iter().enumerate() {
        let points = values.iter().enumerate().map(|(at, value)| (x(at), y(*value)));
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (stroke, legend) = (colour(name), WIDTH / 2.0 + at as f64 * 130.0);
        if let [only] = points.as_slice()
            && let Some((x, y)) = only.split_once(',')
        {
            let _ = write!(svg, r#"<circle cx="{x}" cy="{y}" r="4" fill="{stroke}"/>"#);
        }
        let _ = write!(
            svg,
            r#"<polyline points="{}" fill="none" stroke="{stroke}" stroke-width="1.8"/><rect x="{legend:.1}" y="11" width="10" height="10" fill="{stroke}"/><text x="{:.1}" y="20">{}</text>"#,
            points.join(" "),
            legend + 15.0,
            escape(name)
        );
    }
    let ends = [(LEFT, "start", &chart.ends.0), (WIDTH - RIGHT, "end", &chart.ends.1)];
    for (x, anchor, text) in ends {
        let (y, text) = (bottom + 15.0, escape(text));
        let _ = write!(
            svg,
            r#"<text class="axis" x="{x}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }
    let _ = write!(
        svg,
        r#"<text class="axis" x="{LEFT}" y="{:.1}">{}, {}</text></svg>"#,
        bottom + 33.0,
        escape(chart.unit),
        escape(chart.along)
    );
    svg
}

fn begin(height: f64, title: &str) -> String {
    let title = escape(title);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" role="img"><title>{title}</title><style>{STYLE}</style><text class="title" x="8" y="20">{title}</text>"#
    )
}

/// As short as it may be.
fn tick_label(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(values: &[f64], is_log: bool) -> Figure {
        let values = (0..).zip(values.iter().copied()).collect();
        let sides = vec![Side { name: "a<b".to_owned(), values }];
        let groups = vec![Group { name: "c&d".to_owned(), sides }];
        Figure { title: "t".to_owned(), unit: "ms", is_log, has_ratios: false, groups }
    }

    #[test]
    fn axes_have_round_numbers_that_hold_all_values() {
        for high in [0.013, 0.9, 1.0, 7.3, 61.2, 640.0] {
            let scale = Scale::of(&figure(&[high / 3.0, high], false));
            let ticks = scale.ticks();
            assert!((3..=8).contains(&ticks.len()), "{high}: {ticks:?}");
            assert!(scale.high >= high && scale.x(high) <= WIDTH - RIGHT + 1e-6);
        }
        let scale = Scale::of(&figure(&[0.4, 30.0], true));
        let labels: Vec<_> = scale.ticks().into_iter().map(tick_label).collect();
        assert_eq!(labels, ["0.1", "1", "10", "100"]);
    }

    #[test]
    fn names_cannot_break_the_picture() {
        for is_log in [false, true] {
            let svg = bars(&figure(&[1.0, 2.0], is_log));
            assert!(svg.contains("a&lt;b") && svg.contains("c&amp;d") && !svg.contains("a<b"));
            assert!(svg.ends_with("</svg>") && svg.contains("ms: median"));
        }
    }

    #[test]
    fn nothing_at_all_is_drawn_too() {
        let mut figure = figure(&[0.0], true);
        assert!(!bars(&figure).contains("NaN"));
        figure.is_log = false;
        assert!(!bars(&figure).contains("NaN"));
        let ends = (String::new(), String::new());
        let (lines_of, levels) = (vec![("engine".to_owned(), vec![0.0])], Vec::new());
        let chart =
            Line { title: "t".to_owned(), unit: "ms", along: "s", ends, lines: lines_of, levels };
        assert!(!lines(&chart).contains("NaN"));
    }

    #[test]
    fn numbers_have_three_digits_that_matter() {
        let numbers = [1234.5, 61.23, 7.777, 0.04321, 0.0].map(number);
        assert_eq!(numbers, ["1234", "61.2", "7.78", "0.043", "0.00"]);
    }
}
