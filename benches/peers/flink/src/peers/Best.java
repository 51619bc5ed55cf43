package peers;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

/**
 * The records that rank highest in each window, those that tie among them. Each subtask looks among
 * its own records first, so that few go to the one that decides.
 */
final class Best {
    private Best() {}

    /** Where a record belongs. */
    interface Ranking<T> extends Serializable {
        /** The end of its window. */
        long end(T record);

        long rank(T record);
    }

    static <T extends Packed<T>> DataStream<T> ofWindows(
            DataStream<T> records, TypeInformation<T> type, Ranking<T> ranking) {
        return records
                .transform("best-here", type, new Here<>(type, ranking))
                .keyBy(ranking::end, Types.LONG)
                .process(new OfAll<>(type, ranking), type);
    }

    private static <T extends Packed<T>> void add(List<T> best, T record, Ranking<T> ranking) {
        long rank = ranking.rank(record);
        long highest = best.isEmpty() ? Long.MIN_VALUE : ranking.rank(best.get(0));
        if (rank > highest) {
            best.clear();
        }
        if (rank >= highest) {
            best.add(record.copy());
        }
    }

    private static final class Here<T extends Packed<T>> extends AbstractStreamOperator<T>
            implements OneInputStreamOperator<T, T> {
        private final TypeInformation<T> type;
        private final Ranking<T> ranking;
        private transient TreeMap<Long, List<T>> windows;
        private transient long lastEnd;
        private transient List<T> lastWindow;
        private transient ListState<T> state;

        Here(TypeInformation<T> type, Ranking<T> ranking) {
            this.type = type;
            this.ranking = ranking;
        }

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            windows = new TreeMap<>();
            state = context.getOperatorStateStore().getListState(new ListStateDescriptor<>("best", type));
            for (T record : state.get()) {
                add(record);
            }
        }

        @Override
        public void snapshotState(StateSnapshotContext context) throws Exception {
            super.snapshotState(context);
            state.clear();
            for (List<T> best : windows.values()) {
                state.addAll(best);
            }
        }

        @Override
        public void processElement(StreamRecord<T> element) {
            add(element.getValue());
        }

        private void add(T record) {
            long end = ranking.end(record);
            if (lastWindow == null || end != lastEnd) {
                lastEnd = end;
                lastWindow = windows.computeIfAbsent(end, unused -> new ArrayList<>());
            }
            Best.add(lastWindow, record, ranking);
        }

        @Override
        public void processWatermark(Watermark mark) throws Exception {
            while (!windows.isEmpty() && windows.firstKey() - 1 <= mark.getTimestamp()) {
                var over = windows.pollFirstEntry();
                lastWindow = null;
                for (T record : over.getValue()) {
                    output.collect(new StreamRecord<>(record, over.getKey() - 1));
                }
            }
            super.processWatermark(mark);
        }
    }

    private static final class OfAll<T extends Packed<T>> extends KeyedProcessFunction<Long, T, T> {
        private final TypeInformation<T> type;
        private final Ranking<T> ranking;
        private transient ListState<T> best;

        OfAll(TypeInformation<T> type, Ranking<T> ranking) {
            this.type = type;
            this.ranking = ranking;
        }

        @Override
        public void open(OpenContext context) {
            best = getRuntimeContext().getListState(new ListStateDescriptor<>("best", type));
        }

        @Override
        public void processElement(T record, Context context, Collector<T> out) throws Exception {
            List<T> all = new ArrayList<>();
            for (T other : best.get()) {
                all.add(other);
            }
            add(all, record, ranking);
            best.update(all);
            context.timerService().registerEventTimeTimer(ranking.end(record) - 1);
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<T> out) throws Exception {
            for (T record : best.get()) {
                out.collect(record);
            }
            best.clear();
        }
    }
}
