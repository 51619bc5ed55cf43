package peers;

import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** Keys made in the job, exchanged, counted; each count is said. */
final class KeyedCount {
    private KeyedCount() {}

    static void build(StreamExecutionEnvironment env, long records, long keys) {
        var source = new Numbered<>(records, number -> Long.remainderUnsigned(Digest.mix(number), keys));
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "keys", Types.LONG)
                .keyBy(key -> key, Types.LONG)
                .map(new Count(), Pair.TYPE)
                .sinkTo(new DigestSink<>((digest, pair) -> digest.hashed((pair.a | 1L << 40) * pair.b)));
    }

    /** Key and count are one object of the state, changed in place, which the heap backend allows. */
    private static final class Count extends RichMapFunction<Long, Pair> {
        private transient ValueState<Pair> counts;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Pair.TYPE));
        }

        @Override
        public Pair map(Long key) throws Exception {
            Pair count = counts.value();
            if (count == null) {
                count = new Pair(key, 0);
                counts.update(count);
            }
            count.b++;
            return count;
        }
    }
}
