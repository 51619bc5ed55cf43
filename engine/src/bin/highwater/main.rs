//! The `highwater` command: looks after the checkpoints of jobs, whether they run or not.
//!
//! Parsing and printing alone: what is done is in `highwater::checkpoint::inspect`.

#![expect(clippy::disallowed_methods, reason = "shows ages and speeds to people")]

mod compare;
mod delete;
mod dump;
mod entries;
mod listing;
mod output;
mod partial;
mod requests;
mod restore;
mod verify;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use highwater::checkpoint::inspect;
use highwater::checkpoint::store::BlobStore;

use output::Output;

/// Whatever a command may end with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a command comes to: whether all is as it should be.
type Outcome = Result<Verdict, BoxError>;

/// Exit code 0, or 1 for damage found, for checkpoints that differ, and for entries left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
}

impl Verdict {
    fn good_if(is_good: bool) -> Verdict {
        if is_good { Verdict::Good } else { Verdict::Bad }
    }
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; verify found no damage, diff found no difference, dump left nothing out
  1  verify found damage, diff found a difference, or dump left out what it could not decode
  2  wrong arguments, or an error, which stderr says";

const EXAMPLES: &str = "\
Examples:
  highwater checkpoints list out/checkpoints
  highwater checkpoints verify s3://bucket/checkpoints --job wordcount
  highwater state dump out/checkpoints --operator count --checkpoint 42 | jq .value
  highwater savepoint out/checkpoints --name before-upgrade
  highwater stop out/checkpoints --savepoint before-upgrade

A path or URL is what a job has as --checkpoint-dir, or the folder of one job in it. Credentials for
s3://, gs:// and az:// come from the environment, as for jobs; the binary must be built with the
feature aws, gcp or azure. Only `delete`, `savepoint` and `stop` write anything there.";

/// Looks after the checkpoints of Highwater jobs
#[derive(Parser)]
#[command(name = "highwater", version, after_help = EXIT_CODES, after_long_help = concat_help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

fn concat_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

#[derive(Subcommand)]
enum Command {
    /// Lists, shows, verifies, compares and deletes checkpoints
    #[command(subcommand)]
    Checkpoints(Checkpoints),
    /// Reads the state that a checkpoint holds
    #[command(subcommand)]
    State(State),
    /// Asks the running job for a savepoint, and waits until it is taken
    Savepoint(requests::SavepointArgs),
    /// Asks the running job to stop with a last checkpoint, and waits until it has
    Stop(requests::StopArgs),
    /// Says what a job would restore
    Restore(restore::RestoreArgs),
}

#[derive(Subcommand)]
enum Checkpoints {
    /// Lists the checkpoints and savepoints of a job
    List(listing::ListArgs),
    /// Shows what a checkpoint holds, operator by operator
    Show(listing::ShowArgs),
    /// Reads every byte of checkpoints and checks every checksum
    Verify(verify::VerifyArgs),
    /// Compares two checkpoints, of one job or of two
    Diff(compare::DiffArgs),
    /// Deletes checkpoints and savepoints, and segments that nothing else names
    Delete(delete::DeleteArgs),
}

#[derive(Subcommand)]
enum State {
    /// Writes the entries of an operator as JSON lines, or as a Parquet file
    Dump(dump::DumpArgs),
}

/// Where a job's checkpoints are.
#[derive(Args, Clone)]
struct Place {
    /// What the job has as --checkpoint-dir, or the job's folder in it
    #[arg(value_name = "PATH|URL")]
    location: String,

    /// Name of the job; not needed if there is only one
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

impl Place {
    async fn open(&self) -> highwater::checkpoint::Result<BlobStore> {
        inspect::open(&self.location, self.job.as_deref()).await
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let mut output = Output::stdout();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli.command, &mut output)),
        Err(error) => Err(error.into()),
    };
    let outcome = outcome.and_then(|verdict| {
        output.flush()?;
        Ok(verdict)
    });
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        // Who reads has seen enough: `| head`.
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command, output: &mut Output) -> Outcome {
    match command {
        Command::Checkpoints(Checkpoints::List(args)) => listing::list(args, output).await,
        Command::Checkpoints(Checkpoints::Show(args)) => listing::show(args, output).await,
        Command::Checkpoints(Checkpoints::Verify(args)) => verify::verify(args, output).await,
        Command::Checkpoints(Checkpoints::Diff(args)) => compare::diff(args, output).await,
        Command::Checkpoints(Checkpoints::Delete(args)) => delete::delete(args, output).await,
        Command::State(State::Dump(args)) => dump::dump(args, output).await,
        Command::Savepoint(args) => requests::savepoint(args, output).await,
        Command::Stop(args) => requests::stop(args, output).await,
        Command::Restore(args) => restore::restore(args, output).await,
    }
}

fn is_broken_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe)
}

/// An error and its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_commands_fit_together() {
        super::Cli::command().debug_assert();
    }
}
