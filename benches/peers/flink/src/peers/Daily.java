package peers;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.runtime.state.StateInitializationContext;
import org.apache.flink.runtime.state.StateSnapshotContext;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;

/**
 * q15: statistics of a day. Who is new is found out by bidder and by auction, on all subtasks, and bids
 * are counted where they are; one adds it up.
 */
final class Daily {
    /** Where the counts of bids, bidders and auctions begin: each a total and three levels. */
    private static final int BIDS = 0;
    private static final int BIDDERS = 4;
    private static final int AUCTIONS = 8;
    private static final int LENGTH = 12;

    /** A day, and what is new in it. */
    private static final TypeInformation<Tuple2<Long, long[]>> OF_DAY =
            Types.TUPLE(Types.LONG, Reports.LONGS);

    private Daily() {}

    static void q15(DataStream<Event> events) {
        var bids = Project.of(events, new Pair(), Pair.TYPE, (event, pair) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            pair.set(bid.day(), bid.level());
            return true;
        });
        var bidders = Project.of(events, new Triple(), Triple.TYPE, (event, triple) -> {
            Bid bid = event.bid();
            return bid != null && triple.set(bid.bidder, bid.day(), bid.level()) != null;
        });
        var auctions = Project.of(events, new Triple(), Triple.TYPE, (event, triple) -> {
            Bid bid = event.bid();
            return bid != null && triple.set(bid.auction, bid.day(), bid.level()) != null;
        });
        bids.transform("bids-here", OF_DAY, new BidsHere())
                .union(newOnes(bidders, BIDDERS), newOnes(auctions, AUCTIONS))
                .keyBy(day -> day.f0, Types.LONG)
                .map(new Sum(), OF_DAY)
                .sinkTo(new DigestSink<>((digest, day) -> {
                    digest.put(day.f0).key();
                    Notes.counts(digest, day.f1, BIDS);
                    Notes.counts(digest, day.f1, BIDDERS);
                    Notes.counts(digest, day.f1, AUCTIONS);
                    digest.upsert();
                }));
    }

    private static DataStream<Tuple2<Long, long[]>> newOnes(DataStream<Triple> levels, int at) {
        return levels.keyBy(triple -> triple.a, Types.LONG).flatMap(new NewOnes(at), OF_DAY);
    }

    /** Says what a subtask has counted, with each watermark. */
    private static final class BidsHere extends AbstractStreamOperator<Tuple2<Long, long[]>>
            implements OneInputStreamOperator<Pair, Tuple2<Long, long[]>>, BoundedOneInput {
        private transient Map<Long, long[]> days;
        private transient ListState<Tuple2<Long, long[]>> state;

        @Override
        public void initializeState(StateInitializationContext context) throws Exception {
            super.initializeState(context);
            days = new HashMap<>();
            state = context.getOperatorStateStore().getListState(new ListStateDescriptor<>("days", OF_DAY));
            for (Tuple2<Long, long[]> day : state.get()) {
                days.put(day.f0, day.f1);
            }
        }

        @Override
        public void snapshotState(StateSnapshotContext context) throws Exception {
            super.snapshotState(context);
            state.clear();
            for (var day : days.entrySet()) {
                state.add(Tuple2.of(day.getKey(), day.getValue()));
            }
        }

        @Override
        public void processElement(StreamRecord<Pair> bid) {
            long[] counts = days.computeIfAbsent(bid.getValue().a, unused -> new long[LENGTH]);
            Reports.count(counts, BIDS, Reports.bits((int) bid.getValue().b));
        }

        @Override
        public void processWatermark(Watermark mark) throws Exception {
            endInput();
            super.processWatermark(mark);
        }

        @Override
        public void endInput() {
            days.forEach((day, counts) -> output.collect(new StreamRecord<>(Tuple2.of(day, counts))));
            days.clear();
        }
    }

    /** Keys of a day that are seen the first time, or the first time in a level. */
    private static final class NewOnes extends RichFlatMapFunction<Triple, Tuple2<Long, long[]>> {
        private final int at;
        private transient MapState<Long, Integer> seen;

        NewOnes(int at) {
            this.at = at;
        }

        @Override
        public void open(OpenContext context) {
            seen = getRuntimeContext().getMapState(new MapStateDescriptor<>("seen", Types.LONG, Types.INT));
        }

        @Override
        public void flatMap(Triple level, Collector<Tuple2<Long, long[]>> out) throws Exception {
            int bits = Reports.seenFirst(seen, level.b, (int) level.c);
            if (bits != 0) {
                long[] counts = new long[LENGTH];
                Reports.count(counts, at, bits);
                out.collect(Tuple2.of(level.b, counts));
            }
        }
    }

    private static final class Sum extends RichMapFunction<Tuple2<Long, long[]>, Tuple2<Long, long[]>> {
        private transient ValueState<long[]> sums;

        @Override
        public void open(OpenContext context) {
            sums = getRuntimeContext().getState(new ValueStateDescriptor<>("sums", Reports.LONGS));
        }

        @Override
        public Tuple2<Long, long[]> map(Tuple2<Long, long[]> day) throws Exception {
            long[] sum = sums.value();
            if (sum == null) {
                sum = new long[LENGTH];
                sums.update(sum);
            }
            for (int i = 0; i < LENGTH; i++) {
                sum[i] += day.f1[i];
            }
            return Tuple2.of(day.f0, sum);
        }
    }
}
