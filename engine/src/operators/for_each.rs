//! The end of a stream that is not a sink: no state, nothing to commit.

use highwater_checkpoint::Moment;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::stream::{Flow, to_first_output};

pub(crate) fn for_each<'scope, T: 'static>(
    flow: &Flow<'scope>,
    stream: StreamVec<'scope, Moment, T>,
    mut each: impl FnMut(T) + 'static,
) {
    let metrics = std::sync::Arc::clone(&flow.shared().metrics);
    let mut builder = OperatorBuilder::new("ForEach".to_owned(), flow.scope());
    let (done_output, done) = builder.new_output_connection::<Vec<()>, _>([]);
    let mut input = builder.new_input_connection(stream, Pipeline, to_first_output());
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_| {
            let _done_output = &done_output;
            input.for_each(|_, batch| {
                metrics.wrote(batch.len() as u64);
                batch.drain(..).for_each(&mut each);
            });
        }
    });
    done.probe_with(flow.checkpoints().tail());
}
