package peers;

import java.util.Arrays;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** q18, q19: the last bid, and the ten best; as a changelog, where false takes a row back. */
final class Tops {
    private Tops() {}

    static void q18(DataStream<Event> events) {
        Project.bids(events)
                .keyBy(bid -> Tuple2.of(bid.bidder, bid.auction), Types.TUPLE(Types.LONG, Types.LONG))
                .process(new LastBid(), Types.TUPLE(Types.BOOLEAN, Bid.TYPE))
                .sinkTo(new DigestSink<>((digest, change) -> {
                    Notes.put(digest, change.f1);
                    note(digest, change.f0);
                }));
    }

    private static void note(Digest digest, boolean isInserted) {
        if (isInserted) {
            digest.row();
        } else {
            digest.retract();
        }
    }

    private static final class LastBid
            extends KeyedProcessFunction<Tuple2<Long, Long>, Bid, Tuple2<Boolean, Bid>> {
        private final Tuple2<Boolean, Bid> change = new Tuple2<>();
        private transient ValueState<Bid> lasts;

        @Override
        public void open(OpenContext context) {
            lasts = getRuntimeContext().getState(new ValueStateDescriptor<>("last", Bid.TYPE));
        }

        @Override
        public void processElement(Bid bid, Context context, Collector<Tuple2<Boolean, Bid>> out)
                throws Exception {
            Bid last = lasts.value();
            if (last == null) {
                lasts.update(bid.copy());
            } else if (bid.dateTime > last.dateTime || bid.dateTime == last.dateTime && bid.price > last.price) {
                change.setFields(false, last);
                out.collect(change);
                bid.copyTo(last);
            } else {
                return;
            }
            change.setFields(true, bid);
            out.collect(change);
        }
    }

    /** Inserted, bid, rank. */
    private static final TypeInformation<Tuple3<Boolean, Bid, Long>> RANKED =
            Types.TUPLE(Types.BOOLEAN, Bid.TYPE, Types.LONG);

    static void q19(DataStream<Event> events) {
        Project.bids(events)
                .keyBy(bid -> bid.auction, Types.LONG)
                .process(new TopTen(), RANKED)
                .sinkTo(new DigestSink<>((digest, change) -> {
                    Notes.put(digest, change.f1);
                    note(digest.put(change.f2), change.f0);
                }));
    }

    private static final class TopTen extends KeyedProcessFunction<Long, Bid, Tuple3<Boolean, Bid, Long>> {
        private static final int TOP = 10;

        private final Tuple3<Boolean, Bid, Long> change = new Tuple3<>();
        /** The dearest first; of equal ones the earlier. */
        private transient ValueState<Bid[]> tops;

        @Override
        public void open(OpenContext context) {
            tops = getRuntimeContext().getState(new ValueStateDescriptor<>("top", Types.OBJECT_ARRAY(Bid.TYPE)));
        }

        @Override
        public void processElement(Bid bid, Context context, Collector<Tuple3<Boolean, Bid, Long>> out)
                throws Exception {
            Bid[] top = tops.value();
            int length = top == null ? 0 : top.length;
            int place = length;
            while (place > 0 && isBefore(bid, top[place - 1])) {
                place--;
            }
            if (place == TOP) {
                return;
            }
            if (length < TOP) {
                top = top == null ? new Bid[1] : Arrays.copyOf(top, length + 1);
                tops.update(top);
            } else {
                length--;
                say(false, top[length], TOP, out);
            }
            for (int at = length; at > place; at--) {
                say(false, top[at - 1], at, out);
                say(true, top[at - 1], at + 1, out);
                top[at] = top[at - 1];
            }
            top[place] = bid.copy();
            say(true, bid, place + 1, out);
        }

        private void say(boolean isInserted, Bid bid, long rank, Collector<Tuple3<Boolean, Bid, Long>> out) {
            change.setFields(isInserted, bid, rank);
            out.collect(change);
        }

        private static boolean isBefore(Bid one, Bid other) {
            if (one.price != other.price) {
                return one.price > other.price;
            }
            return one.dateTime != other.dateTime
                    ? one.dateTime < other.dateTime
                    : one.bidder < other.bidder;
        }
    }
}
