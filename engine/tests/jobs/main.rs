//! Jobs that run in this process, and what they must leave behind: one module a behaviour.
//!
//! They are one program, and not one each, because a program that builds dataflows takes a minute to
//! compile, most of it for what it has in common with the others. What needs a process to itself
//! starts one, as `recovery` does for signals, or is a test of its own beside this folder.
//!
//! ```sh
//! cargo test -p highwater --test jobs rescale::
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the figures are for people

mod asked_once;
mod bad_graph;
mod bad_options;
mod bad_time;
mod command;
mod counts;
mod event_time;
mod failing_store;
mod firing;
mod joins;
mod knobs;
mod operator_state;
mod order_and_repetition;
mod recovery;
mod rescale;
mod restart;
mod savepoint;
mod schema;
mod schema_of_states;
mod timers;
mod trickle;
mod typed_state;
mod waiting;
mod windows;
