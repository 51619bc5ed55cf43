//! `report`: one page of HTML of the lines that suites have written, whole by itself; and its charts as
//! pictures for other pages.

mod chart;
mod figure;
mod runs;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use self::chart::{Line, bars, escape, lines, number};
use self::figure::figures;
use self::runs::{Found, Instructions, Run};
use crate::report::median;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Files with lines of JSON that suites have written, and histories of instructions (.csv)
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// The page
    #[arg(short, long, default_value = "out/report.html")]
    out: PathBuf,

    /// A folder for the charts as SVG
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
}

/// What the charts look like on a page.
const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;\
background:#fff;color:#24292f}\
svg{max-width:100%;height:auto}table{border-collapse:collapse;font-size:13px;margin:1em 0 2em}\
div.wide{overflow-x:auto}\
th,td{padding:3px 10px;border-bottom:1px solid #d0d7de;text-align:right;white-space:nowrap}\
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}\
p.damaged{color:#b3261e}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}\
th,td{border-color:#3a424c}p.damaged{color:#ff7b72}}";

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut found = Found::default();
    args.files.iter().for_each(|file| found.read(file));
    for damaged in &found.damaged {
        println!("error: {damaged}");
    }
    let charts = charts(&found);
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&args.out, page(&found, &charts))?;
    println!("{} runs, {} charts: {}", found.runs.len(), charts.len(), args.out.display());
    if let Some(folder) = &args.svg {
        std::fs::create_dir_all(folder)?;
        for chart in &charts {
            std::fs::write(folder.join(format!("{}.svg", chart.name)), &chart.svg)?;
        }
    }
    match found.damaged.len() {
        0 => Ok(()),
        count => {
            Err(format!("{count} lines or files cannot be used; the rest is on the page").into())
        }
    }
}

/// A chart, of which suite, and what its file is called.
struct Chart {
    suite: String,
    name: String,
    svg: String,
}

fn suites(runs: &[Run]) -> Vec<&str> {
    let mut suites = Vec::new();
    for run in runs {
        if !suites.contains(&run.suite.as_str()) {
            suites.push(&run.suite);
        }
    }
    suites
}

fn charts(found: &Found) -> Vec<Chart> {
    let mut charts = Vec::new();
    for suite in suites(&found.runs) {
        let runs: Vec<&Run> = found.runs.iter().filter(|run| run.suite == suite).collect();
        let mut of_suite: Vec<(String, String)> = figures(suite, &runs)
            .iter()
            .map(|figure| (figure.title.clone(), bars(figure)))
            .collect();
        of_suite.extend(timelines(&runs).iter().map(|line| (line.title.clone(), lines(line))));
        charts.extend(of_suite.into_iter().map(|(title, svg)| Chart {
            suite: suite.to_owned(),
            name: file_name(&title),
            svg,
        }));
    }
    for (suite, history) in histories(&found.instructions) {
        let title = format!("{suite}: instructions a record");
        let ends = (at_commit(history.first()), at_commit(history.last()));
        let values = history.iter().map(|at| at.per_record).collect();
        let line = Line {
            title: title.clone(),
            unit: "instructions a record",
            along: "commit by commit",
            ends,
            lines: vec![("engine".to_owned(), values)],
            levels: Vec::new(),
        };
        let name = file_name(&title);
        charts.push(Chart { suite: HISTORY.to_owned(), name, svg: lines(&line) });
    }
    charts
}

/// The section of the page for what is not of one run.
const HISTORY: &str = "instructions";

fn file_name(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}

/// The worst latency over the time of the first round, of each case.
fn timelines<'a>(runs: &[&Run]) -> Vec<Line<'a>> {
    let mut timelines: Vec<Line<'a>> = Vec::new();
    for run in runs {
        let worst = run.numbers("timeline_worst_ms");
        let title = format!("{}: the worst over time, {}", run.suite, run.case);
        if worst.is_empty() {
            continue;
        }
        let seconds =
            run.number("seconds").map_or_else(String::new, |s| format!("{} s", number(s)));
        let line = (run.side.clone(), worst);
        match timelines.iter_mut().find(|timeline| timeline.title == title) {
            Some(timeline) if timeline.lines.iter().all(|(side, _)| *side != run.side) => {
                timeline.lines.push(line);
            }
            Some(_) => {}
            None => timelines.push(Line {
                title,
                unit: "milliseconds",
                along: "worst of each 50 ms in the first round",
                ends: ("0".to_owned(), seconds),
                lines: vec![line],
                levels: vec![(5.0, "p99 under 5".to_owned()), (20.0, "p99.9 under 20".to_owned())],
            }),
        }
    }
    timelines
}

fn histories(all: &[Instructions]) -> Vec<(&str, Vec<&Instructions>)> {
    let suites: BTreeSet<&str> = all.iter().map(|at| at.suite.as_str()).collect();
    let of = |suite: &str| all.iter().filter(|at| at.suite == suite).collect();
    suites.into_iter().map(|suite| (suite, of(suite))).collect()
}

fn at_commit(at: Option<&&Instructions>) -> String {
    at.map_or_else(String::new, |at| format!("{}, {}", at.commit, at.date))
}

fn page(found: &Found, charts: &[Chart]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Highwater, measured</title>\
         <style>{PAGE_STYLE}</style></head><body>\n<h1>Highwater, measured</h1>\n"
    );
    let names = ["machine", "versions", "commit"];
    let heads: BTreeSet<Vec<&str>> = found
        .runs
        .iter()
        .map(|run| names.iter().filter_map(|name| run.text(name)).collect())
        .collect();
    for head in heads.iter().filter(|head| !head.is_empty()) {
        let _ = writeln!(html, "<p>{}</p>", escape(&head.join("; ")));
    }
    for damaged in &found.damaged {
        let _ = writeln!(html, "<p class=\"damaged\">not on this page: {}</p>", escape(damaged));
    }
    let mut sections = suites(&found.runs);
    if !found.instructions.is_empty() {
        sections.push(HISTORY);
    }
    for suite in sections {
        let _ = writeln!(html, "<h2>{}</h2>", escape(suite));
        for chart in charts.iter().filter(|chart| chart.suite == suite) {
            let _ = writeln!(html, "{}", chart.svg);
        }
        let runs: Vec<&Run> = found.runs.iter().filter(|run| run.suite == suite).collect();
        html += &table(suite, &runs);
    }
    html + "</body></html>\n"
}

/// What the charts are of, in numbers, and what else the runs have taken.
fn table(suite: &str, runs: &[&Run]) -> String {
    let mut html = String::new();
    for figure in figures(suite, runs) {
        let _ = writeln!(
            html,
            "<div class=\"wide\"><table><tr><th>{}</th><th>side</th><th>{}</th><th>least</th>\
             <th>greatest</th><th>rounds</th><th>of timely</th><th>of engine</th><th>CPU s</th>\
             <th>peak MB</th></tr>",
            escape(&figure.title),
            escape(figure.unit)
        );
        for group in &figure.groups {
            for side in &group.sides {
                let ratio = |of: &str| spread_of(&group.ratios_to(side, of));
                let of_engine = match side.name.as_str() {
                    "timely" | "loop" => String::new(),
                    _ => ratio("engine"),
                };
                let took = |field: &str, divisor: f64| {
                    let of = |run: &&&Run| run.case == group.name && run.side == side.name;
                    let all = runs.iter().filter(of).filter_map(|run| run.number(field));
                    let all: Vec<f64> = all.map(|value| value / divisor).collect();
                    if all.is_empty() { String::new() } else { number(median(&all)) }
                };
                let cells = [
                    escape(&group.name),
                    escape(&side.name),
                    number(side.median()),
                    number(side.least()),
                    number(side.greatest()),
                    side.values.len().to_string(),
                    ratio("timely"),
                    of_engine,
                    took("cpu_seconds", 1.0),
                    took("peak_memory_bytes", 1e6),
                ];
                let _ = writeln!(html, "<tr><td>{}</td></tr>", cells.join("</td><td>"));
            }
        }
        html += "</table></div>\n";
    }
    html
}

fn spread_of(ratios: &[f64]) -> String {
    if ratios.is_empty() { String::new() } else { crate::report::spread(ratios, 2) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: &str = r#"{"suite":"latency","case":"1 M/s","side":"SIDE","round":0,"p50_ms":0.4,
        "p99_ms":1.5,"p99_9_ms":7.5,"max_ms":12.5,"seconds":10.0,"timeline_worst_ms":[1,12.5,2]}"#;

    #[test]
    fn a_page_has_all_that_is_whole_and_names_what_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs.json");
        let line = LATENCY.replace('\n', "");
        let both = [line.replace("SIDE", "engine"), line.replace("SIDE", "timely")];
        std::fs::write(&runs, format!("{}\nhello\n{}\n", both[0], both[1])).unwrap();
        let (out, svg) = (folder.path().join("out/report.html"), Some(folder.path().join("svg")));
        let error = run(&Args { files: vec![runs], out: out.clone(), svg: svg.clone() });
        assert!(error.unwrap_err().to_string().starts_with("1 lines or files"));
        let page = std::fs::read_to_string(out).unwrap();
        assert!(page.contains("runs.json:2: "), "the damaged line is named");
        assert!(page.contains("latency: from when an event was due"));
        assert!(page.contains("<td>1 M/s: p99.9</td><td>engine</td><td>7.50</td>"));
        assert!(
            !page.contains("http://")
                || page.matches("http://").count() == page.matches("xmlns").count()
        );
        let mut names: Vec<_> = std::fs::read_dir(svg.unwrap()).unwrap().collect();
        names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        let names: Vec<_> = names.into_iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(
            names,
            ["latency-from-when-an-event-was-due.svg", "latency-the-worst-over-time-1-m-s.svg"]
        );
    }

    #[test]
    fn histories_are_apart_by_suite() {
        let at = |suite: &str, per_record| Instructions {
            date: "2026-11-22".to_owned(),
            commit: "abc".to_owned(),
            suite: suite.to_owned(),
            per_record,
        };
        let instructions = vec![at("q5", 90.0), at("keyed-count", 50.0), at("q5", 80.0)];
        let charts = charts(&Found { instructions, ..Found::default() });
        let names: Vec<_> = charts.iter().map(|chart| chart.name.as_str()).collect();
        assert_eq!(names, ["keyed-count-instructions-a-record", "q5-instructions-a-record"]);
    }
}
