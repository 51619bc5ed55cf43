package peers;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.tuple.Tuple5;
import org.apache.flink.streaming.api.datastream.DataStream;

/** q16, q17: statistics of a day, which change with each bid. */
final class Reports {
    static final TypeInformation<long[]> LONGS =
            PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO;

    private Reports() {}

    /** The bit of a level, and that of all levels. */
    static int bits(int level) {
        return 1 << level | 1 << 3;
    }

    /** Adds bits to a total and its three levels. */
    static void count(long[] counts, int at, int bits) {
        counts[at] += bits >> 3 & 1;
        for (int level = 0; level < 3; level++) {
            counts[at + 1 + level] += bits >> level & 1;
        }
    }

    /** Marks a level as seen; the bits are those that were not seen before. */
    static int seenFirst(MapState<Long, Integer> seen, Long key, int level) throws Exception {
        Integer known = seen.get(key);
        int before = known == null ? 0 : known;
        int first = bits(level) & ~before;
        if (first != 0) {
            seen.put(key, before | first);
        }
        return first;
    }

    static void q16(DataStream<Event> events) {
        var projected = Types.<Tuple5<String, Long, Integer, Long, Long>>TUPLE(
                Types.STRING, Types.LONG, Types.INT, Types.LONG, Types.LONG);
        var reported = Types.<Tuple3<String, Long, long[]>>TUPLE(Types.STRING, Types.LONG, LONGS);
        Project.of(events, new Tuple5<>(), projected, (event, row) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            row.setFields(bid.channel, bid.dateTime, bid.level(), bid.bidder, bid.auction);
            return true;
        })
                .keyBy(row -> Tuple2.of(row.f0, day(row.f1)), Types.TUPLE(Types.STRING, Types.LONG))
                .map(new OfChannel(), reported)
                .sinkTo(new DigestSink<>((digest, row) -> {
                    digest.text(row.f0).put(row.f1).key();
                    digest.put(row.f2[OfChannel.MINUTE]);
                    Notes.counts(digest, row.f2, OfChannel.BIDS);
                    Notes.counts(digest, row.f2, OfChannel.BIDDERS);
                    Notes.counts(digest, row.f2, OfChannel.AUCTIONS);
                    digest.upsert();
                }));
    }

    private static long day(long ms) {
        return ms / 86_400_000;
    }

    private static final class OfChannel
            extends RichMapFunction<Tuple5<String, Long, Integer, Long, Long>, Tuple3<String, Long, long[]>> {
        static final int MINUTE = 0;
        static final int BIDS = 1;
        static final int BIDDERS = 5;
        static final int AUCTIONS = 9;

        private final Tuple3<String, Long, long[]> row = new Tuple3<>();
        private transient ValueState<long[]> reports;
        private transient MapState<Long, Integer> bidders;
        private transient MapState<Long, Integer> auctions;

        @Override
        public void open(OpenContext context) {
            reports = getRuntimeContext().getState(new ValueStateDescriptor<>("report", LONGS));
            bidders = seen("bidders");
            auctions = seen("auctions");
        }

        private MapState<Long, Integer> seen(String name) {
            return getRuntimeContext().getMapState(new MapStateDescriptor<>(name, Types.LONG, Types.INT));
        }

        @Override
        public Tuple3<String, Long, long[]> map(Tuple5<String, Long, Integer, Long, Long> bid) throws Exception {
            long[] report = reports.value();
            if (report == null) {
                report = new long[13];
                reports.update(report);
            }
            report[MINUTE] = Math.max(report[MINUTE], bid.f1 % 86_400_000 / 60_000);
            count(report, BIDS, bits(bid.f2));
            count(report, BIDDERS, seenFirst(bidders, bid.f3, bid.f2));
            count(report, AUCTIONS, seenFirst(auctions, bid.f4, bid.f2));
            row.setFields(bid.f0, day(bid.f1), report);
            return row;
        }
    }

    static void q17(DataStream<Event> events) {
        var reported = Types.<Tuple2<Triple, long[]>>TUPLE(Triple.TYPE, LONGS);
        Project.of(events, new Triple(), Triple.TYPE, (event, row) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            row.set(bid.auction, bid.day(), bid.price);
            return true;
        })
                .keyBy(row -> Tuple2.of(row.a, row.b), Types.TUPLE(Types.LONG, Types.LONG))
                .map(new OfAuction(), reported)
                .sinkTo(new DigestSink<>((digest, row) -> {
                    digest.put(row.f0.a).put(row.f0.b).key();
                    Notes.counts(digest, row.f1, 0);
                    digest.put(row.f1[4]).put(row.f1[5]).put(row.f1[6]).put(row.f1[6] / row.f1[0]).upsert();
                }));
    }

    /** Counts, least, most, sum of prices. */
    private static final class OfAuction extends RichMapFunction<Triple, Tuple2<Triple, long[]>> {
        private final Tuple2<Triple, long[]> row = new Tuple2<>();
        private transient ValueState<long[]> reports;

        @Override
        public void open(OpenContext context) {
            reports = getRuntimeContext().getState(new ValueStateDescriptor<>("report", LONGS));
        }

        @Override
        public Tuple2<Triple, long[]> map(Triple bid) throws Exception {
            long price = bid.c;
            long[] report = reports.value();
            if (report == null) {
                report = new long[] {0, 0, 0, 0, Long.MAX_VALUE, 0, 0};
                reports.update(report);
            }
            count(report, 0, bits(price < 10_000 ? 0 : price < 1_000_000 ? 1 : 2));
            report[4] = Math.min(report[4], price);
            report[5] = Math.max(report[5], price);
            report[6] += price;
            row.setFields(bid, report);
            return row;
        }
    }
}
