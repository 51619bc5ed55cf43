//! Who is connected with whom, in a graph that grows: each node takes the least name that it hears of
//! and tells its neighbours, in a loop, exactly once.
//!
//! ```text
//! cargo run --release --example connected_components -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use highwater::prelude::*;
use highwater_connectors::files::FileSink;
use highwater_connectors::generator::GeneratorSource;

/// Connected components of a graph in which node n + components is linked with node n
#[derive(Parser)]
struct Args {
    /// Nodes of the graph
    #[arg(long, default_value_t = 2_000)]
    nodes: u64,

    /// Components that it has
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..))]
    components: u64,

    /// Directory for the rows `node,component`: one whenever it changes, the least is the last
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    job: JobArgs,
}

/// What a node is told.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
enum Told {
    /// It has this neighbour.
    Link(u64),
    /// A neighbour is in the component of this node.
    Component(u64),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { nodes, components, output, job } = Args::parse();
    let to_output = output.clone();
    Job::with_args("connected-components", job).run(move |flow| {
        // Links come in an order that lets components meet late.
        let count = nodes.saturating_sub(components);
        let links = GeneratorSource::new(count, move |n| {
            let node = if n % 2 == 0 { n / 2 } else { count - 1 - n / 2 };
            (node, node + components)
        });
        let told =
            flow.source("links", links).flat_map(|(a, b)| [(a, Told::Link(b)), (b, Told::Link(a))]);
        let changes = told.iterate(|told| {
            let said = told.keyed().process("nodes", |state| {
                let neighbours = state.list::<u64>("neighbours");
                let component = state.value::<u64>("component");
                move |ctx, told| {
                    let node = *ctx.key();
                    let known = component.get(ctx);
                    match told {
                        Told::Link(neighbour) => {
                            neighbours.push(ctx, neighbour);
                            component.set(ctx, known.unwrap_or(node));
                            let mine = Told::Component(known.unwrap_or(node));
                            ctx.emit((neighbour, mine, None));
                        }
                        Told::Component(least) if least < known.unwrap_or(node) => {
                            component.set(ctx, least);
                            ctx.emit((node, Told::Component(least), Some(least)));
                            neighbours.for_each(ctx, |neighbour| {
                                ctx.emit((*neighbour, Told::Component(least), None));
                            });
                        }
                        Told::Component(_) => {}
                    }
                }
            });
            said.split(|(node, told, news), again, changes| match news {
                None => again.push((node, told)),
                Some(component) => changes.push((node, component)),
            })
        });
        changes.sink("components", FileSink::csv(&to_output));
    })?;
    show(&output)
}

/// Prints how many nodes each component has, its first not included.
fn show(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut of_nodes: BTreeMap<u64, u64> = BTreeMap::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        // Hidden files are the sink's own.
        if part.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for row in fs::read_to_string(part)?.lines() {
            let Some((node, component)) = row.split_once(',') else { continue };
            let component: u64 = component.parse()?;
            let least = of_nodes.entry(node.parse()?).or_insert(component);
            *least = component.min(*least);
        }
    }
    let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
    for component in of_nodes.into_values() {
        *sizes.entry(component).or_default() += 1;
    }
    println!("component  others");
    for (component, others) in sizes {
        println!("{component:9}  {others:6}");
    }
    Ok(())
}
