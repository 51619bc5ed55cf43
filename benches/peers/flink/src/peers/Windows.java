package peers;

import java.time.Duration;
import java.util.Arrays;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingProcessingTimeWindows;
import org.apache.flink.streaming.api.windowing.triggers.Trigger;
import org.apache.flink.streaming.api.windowing.triggers.TriggerResult;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/** q5, q7, q8, q11, q12: what happened within ten seconds. */
final class Windows {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final long WINDOW_MS = WINDOW.toMillis();
    private static final long SLIDE_MS = 2_000;
    private static final long PANES = WINDOW_MS / SLIDE_MS;

    private Windows() {}

    static void q5(DataStream<Event> events) {
        var bids = Project.of(events, new Pair(), Pair.TYPE, (event, pair) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            pair.set(bid.auction, bid.dateTime);
            return true;
        });
        var counts = bids.keyBy(pair -> pair.a, Types.LONG).process(new Panes(), Triple.TYPE);
        Best.ofWindows(counts, Triple.TYPE, new ByCount())
                .sinkTo(new DigestSink<>((digest, count) -> digest.put(count.b).put(count.c).row()));
    }

    /** Window, auction, count. */
    private static final class ByCount implements Best.Ranking<Triple> {
        @Override
        public long end(Triple count) {
            return count.a;
        }

        @Override
        public long rank(Triple count) {
            return count.c;
        }
    }

    /** Counts in panes that windows share, where the window operator would count a bid five times. */
    private static final class Panes extends KeyedProcessFunction<Long, Pair, Triple> {
        private final Triple row = new Triple();
        /** Pane and count, pane and count...; changed in place, which the heap backend allows. */
        private transient ValueState<long[]> panes;

        @Override
        public void open(OpenContext context) {
            var type = PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO;
            panes = getRuntimeContext().getState(new ValueStateDescriptor<>("panes", type));
        }

        @Override
        public void processElement(Pair bid, Context context, Collector<Triple> out) throws Exception {
            long pane = bid.b / SLIDE_MS;
            long[] counts = panes.value();
            int length = counts == null ? 0 : counts.length;
            for (int at = length - 2; at >= 0; at -= 2) {
                if (counts[at] == pane) {
                    counts[at + 1]++;
                    return;
                }
            }
            counts = counts == null ? new long[2] : Arrays.copyOf(counts, length + 2);
            counts[length] = pane;
            counts[length + 1] = 1;
            panes.update(counts);
            for (long end = pane + 1; end <= pane + PANES; end++) {
                context.timerService().registerEventTimeTimer(end * SLIDE_MS - 1);
            }
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<Triple> out) throws Exception {
            long end = (at + 1) / SLIDE_MS;
            long[] counts = panes.value();
            long sum = 0;
            int kept = 0;
            for (int i = 0; i < counts.length; i += 2) {
                long pane = counts[i];
                sum += pane >= end - PANES && pane < end ? counts[i + 1] : 0;
                if (pane > end - PANES) {
                    counts[kept] = pane;
                    counts[kept + 1] = counts[i + 1];
                    kept += 2;
                }
            }
            if (kept == 0) {
                panes.clear();
            } else if (kept < counts.length) {
                panes.update(Arrays.copyOf(counts, kept));
            }
            if (sum > 0) {
                out.collect(row.set(at + 1, context.getCurrentKey(), sum));
            }
        }
    }

    static void q7(DataStream<Event> events) {
        Best.ofWindows(Project.bids(events), Bid.TYPE, new ByPrice())
                .sinkTo(new DigestSink<>((digest, bid) -> {
                    Notes.put(digest, bid);
                    digest.row();
                }));
    }

    private static final class ByPrice implements Best.Ranking<Bid> {
        @Override
        public long end(Bid bid) {
            return bid.dateTime / WINDOW_MS * WINDOW_MS + WINDOW_MS;
        }

        @Override
        public long rank(Bid bid) {
            return bid.price;
        }
    }

    /** The id of somebody, the name if they came, and whether they sold. */
    private static final TypeInformation<Tuple3<Long, String, Boolean>> SEEN =
            Types.TUPLE(Types.LONG, Types.STRING, Types.BOOLEAN);

    static void q8(DataStream<Event> events) {
        var type = Types.<Tuple3<Long, String, Long>>TUPLE(Types.LONG, Types.STRING, Types.LONG);
        Project.of(events, new Tuple3<>(), SEEN, Windows::seen)
                .keyBy(seen -> seen.f0, Types.LONG)
                .window(TumblingEventTimeWindows.of(WINDOW))
                .aggregate(new NewSellers(), new WithStart(), SEEN, SEEN, type)
                .sinkTo(new DigestSink<>((digest, row) -> digest.put(row.f0).text(row.f1).put(row.f2).row()));
    }

    private static boolean seen(Event event, Tuple3<Long, String, Boolean> seen) {
        Person person = event.person();
        if (person != null) {
            seen.setFields(person.id, person.name, false);
            return true;
        }
        Auction auction = event.auction();
        if (auction != null) {
            seen.setFields(auction.seller, "", true);
            return true;
        }
        return false;
    }

    private static final class NewSellers
            implements AggregateFunction<
                    Tuple3<Long, String, Boolean>, Tuple3<Long, String, Boolean>, Tuple3<Long, String, Boolean>> {
        @Override
        public Tuple3<Long, String, Boolean> createAccumulator() {
            return Tuple3.of(0L, "", false);
        }

        @Override
        public Tuple3<Long, String, Boolean> add(
                Tuple3<Long, String, Boolean> seen, Tuple3<Long, String, Boolean> all) {
            if (seen.f2) {
                all.f2 = true;
            } else {
                all.f1 = seen.f1;
            }
            return all;
        }

        @Override
        public Tuple3<Long, String, Boolean> getResult(Tuple3<Long, String, Boolean> all) {
            return all;
        }

        @Override
        public Tuple3<Long, String, Boolean> merge(
                Tuple3<Long, String, Boolean> one, Tuple3<Long, String, Boolean> other) {
            return Tuple3.of(0L, one.f1 + other.f1, one.f2 || other.f2);
        }
    }

    private static final class WithStart
            extends ProcessWindowFunction<
                    Tuple3<Long, String, Boolean>, Tuple3<Long, String, Long>, Long, TimeWindow> {
        @Override
        public void process(
                Long id,
                Context context,
                Iterable<Tuple3<Long, String, Boolean>> all,
                Collector<Tuple3<Long, String, Long>> out) {
            Tuple3<Long, String, Boolean> seen = all.iterator().next();
            if (seen.f2 && !seen.f1.isEmpty()) {
                out.collect(Tuple3.of(id, seen.f1, context.window().getStart()));
            }
        }
    }

    static void q11(DataStream<Event> events) {
        bidders(events)
                .keyBy(pair -> pair.a, Types.LONG)
                .window(EventTimeSessionWindows.withGap(WINDOW))
                .aggregate(new Count(), new WithTimes(), Pair.TYPE, Pair.TYPE, Quad.TYPE)
                .sinkTo(new DigestSink<>((digest, row) ->
                        digest.put(row.a).put(row.b).put(row.c).put(row.d).row()));
    }

    /** How many bids of a bidder fall into a window of the time of day is another matter in each run. */
    static void q12(DataStream<Event> events) {
        bidders(events)
                .keyBy(pair -> pair.a, Types.LONG)
                .window(TumblingProcessingTimeWindows.of(WINDOW))
                .trigger(new AlsoAtTheEnd())
                .aggregate(new Count(), new WithTimes(), Pair.TYPE, Pair.TYPE, Quad.TYPE)
                .sinkTo(new DigestSink<>((digest, row) -> digest.put(row.a).rows(row.b)));
    }

    private static DataStream<Pair> bidders(DataStream<Event> events) {
        return Project.of(events, new Pair(), Pair.TYPE, (event, pair) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            pair.set(bid.bidder, 1);
            return true;
        });
    }

    private static final class Count implements AggregateFunction<Pair, Pair, Pair> {
        @Override
        public Pair createAccumulator() {
            return new Pair();
        }

        @Override
        public Pair add(Pair bid, Pair count) {
            count.b++;
            return count;
        }

        @Override
        public Pair getResult(Pair count) {
            return count;
        }

        @Override
        public Pair merge(Pair one, Pair other) {
            one.b += other.b;
            return one;
        }
    }

    /** Bidder, count, start, end. */
    private static final class WithTimes extends ProcessWindowFunction<Pair, Quad, Long, TimeWindow> {
        private final Quad row = new Quad();

        @Override
        public void process(Long bidder, Context context, Iterable<Pair> counts, Collector<Quad> out) {
            TimeWindow window = context.window();
            long count = counts.iterator().next().b;
            out.collect(row.set(bidder, count, window.getStart(), window.getEnd()));
        }
    }

    /** Windows of processing time that are open at the end are said then; by default they are lost. */
    private static final class AlsoAtTheEnd extends Trigger<Object, TimeWindow> {
        @Override
        public TriggerResult onElement(Object bid, long at, TimeWindow window, TriggerContext context) {
            context.registerProcessingTimeTimer(window.maxTimestamp());
            context.registerEventTimeTimer(Long.MAX_VALUE);
            return TriggerResult.CONTINUE;
        }

        @Override
        public TriggerResult onProcessingTime(long time, TimeWindow window, TriggerContext context) {
            return TriggerResult.FIRE;
        }

        @Override
        public TriggerResult onEventTime(long time, TimeWindow window, TriggerContext context) {
            return TriggerResult.FIRE;
        }

        @Override
        public void clear(TimeWindow window, TriggerContext context) {
            context.deleteProcessingTimeTimer(window.maxTimestamp());
            context.deleteEventTimeTimer(Long.MAX_VALUE);
        }
    }
}
