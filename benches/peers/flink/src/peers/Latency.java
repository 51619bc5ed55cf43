package peers;

import java.util.Locale;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.types.LongValue;

/**
 * A keyed count of events that come by the clock, from when an event was due to when its count is at the
 * sink. The load is the same however the job does: an event that could not be taken in time is late from
 * when it was due.
 */
record Latency(long keys, double warmUpSeconds, double lastsSeconds) {
    static void configure(Configuration configuration) {
        // A buffer that is not full waits so long before it is sent, half of it in the middle: 5 ms would be
        // most of the median. At 1 ms a sender flushes a thousand times a second, which costs little; at 0
        // it does so for each event, which costs more than the event.
        configuration.setString("execution.buffer-timeout.interval", "1ms");
    }

    void build(StreamExecutionEnvironment env, double eventsPerSecond) {
        Paced.reset();
        var source = new Paced(eventsPerSecond, keys, warmUpSeconds + lastsSeconds);
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "events", Pair.TYPE)
                .keyBy(event -> event.a, Types.LONG)
                .map(new Count(), Triple.TYPE)
                .sinkTo(new Watch((long) (warmUpSeconds * 1e6)));
    }

    /** What was found in a run, as fields of JSON. */
    String found(double eventsPerSecond, boolean hasCheckpoints, long checkpoints) {
        Lags lags = Lags.take();
        return String.format(
                Locale.ROOT,
                "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p99_9_ms\": %.3f, \"max_ms\": %.3f,"
                        + " \"offered_per_second\": %.1f, \"records\": %d, \"seconds\": %.3f,"
                        + " \"has_checkpoints\": %b, \"checkpoints\": %d",
                lags.withinMs(0.5),
                lags.withinMs(0.99),
                lags.withinMs(0.999),
                lags.maxMs(),
                eventsPerSecond,
                lags.events(),
                lastsSeconds,
                hasCheckpoints,
                checkpoints);
    }

    /** The count is an object of the state, changed in place, which the heap backend allows. */
    private static final class Count extends RichMapFunction<Pair, Triple> {
        private final Triple out = new Triple();
        private transient ValueState<LongValue> counts;

        @Override
        public void open(OpenContext context) {
            var descriptor = new ValueStateDescriptor<>("count", ValueTypeInfo.LONG_VALUE_TYPE_INFO);
            counts = getRuntimeContext().getState(descriptor);
        }

        @Override
        public Triple map(Pair event) throws Exception {
            LongValue count = counts.value();
            if (count == null) {
                count = new LongValue();
                counts.update(count);
            }
            count.setValue(count.getValue() + 1);
            return out.set(event.a, count.getValue(), event.b);
        }
    }

    /** Notes how late each count comes that was due after the warm-up. */
    private record Watch(long warmUpUs) implements Sink<Triple> {
        @Override
        public SinkWriter<Triple> createWriter(WriterInitContext context) {
            return new Writer(warmUpUs);
        }
    }

    private static final class Writer implements SinkWriter<Triple> {
        private final Lags lags = new Lags();
        private final long warmUpUs;

        Writer(long warmUpUs) {
            this.warmUpUs = warmUpUs;
        }

        @Override
        public void write(Triple count, Context context) {
            if (count.c >= warmUpUs) {
                lags.note(Paced.elapsedNs() / 1_000 - count.c);
            }
        }

        @Override
        public void flush(boolean endOfInput) {}

        @Override
        public void close() {
            lags.flush();
        }
    }
}
