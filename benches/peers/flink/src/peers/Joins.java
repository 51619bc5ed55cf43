package peers;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.functions.co.KeyedCoProcessFunction;
import org.apache.flink.util.Collector;

/** q3, q20: people and what they sell, bids and what they are for. */
final class Joins {
    private static final TypeInformation<Tuple4<Long, String, String, String>> PERSON =
            Types.TUPLE(Types.LONG, Types.STRING, Types.STRING, Types.STRING);

    private Joins() {}

    static void q3(DataStream<Event> events) {
        var people = Project.of(events, new Tuple4<>(), PERSON, (event, row) -> {
            Person person = event.person();
            if (person == null || !isLocal(person.state)) {
                return false;
            }
            row.setFields(person.id, person.name, person.city, person.state);
            return true;
        });
        var auctions = Project.of(events, new Pair(), Pair.TYPE, (event, pair) -> {
            Auction auction = event.auction();
            if (auction == null || auction.category != 10) {
                return false;
            }
            pair.set(auction.seller, auction.id);
            return true;
        });
        people.keyBy(person -> person.f0, Types.LONG)
                .connect(auctions.keyBy(pair -> pair.a, Types.LONG))
                .process(new LocalItems(), PERSON)
                .sinkTo(new DigestSink<>((digest, row) ->
                        digest.text(row.f1).text(row.f2).text(row.f3).put(row.f0).row()));
    }

    private static boolean isLocal(String state) {
        return state.equals("OR") || state.equals("ID") || state.equals("CA");
    }

    /** A person with the auction in place of the id. */
    private static final class LocalItems
            extends KeyedCoProcessFunction<
                    Long, Tuple4<Long, String, String, String>, Pair, Tuple4<Long, String, String, String>> {
        private final Tuple4<Long, String, String, String> row = new Tuple4<>();
        private transient ValueState<Tuple4<Long, String, String, String>> person;
        private transient ListState<Long> auctions;

        @Override
        public void open(OpenContext context) {
            person = getRuntimeContext().getState(new ValueStateDescriptor<>("person", PERSON));
            auctions = getRuntimeContext().getListState(new ListStateDescriptor<>("auctions", Types.LONG));
        }

        @Override
        public void processElement1(
                Tuple4<Long, String, String, String> arrived,
                Context context,
                Collector<Tuple4<Long, String, String, String>> out)
                throws Exception {
            person.update(arrived.copy());
            Iterable<Long> known = auctions.get();
            if (known != null) {
                for (Long auction : known) {
                    emit(arrived, auction, out);
                }
            }
        }

        @Override
        public void processElement2(
                Pair pair, Context context, Collector<Tuple4<Long, String, String, String>> out)
                throws Exception {
            Tuple4<Long, String, String, String> known = person.value();
            if (known != null) {
                emit(known, pair.b, out);
            }
            auctions.add(pair.b);
        }

        private void emit(
                Tuple4<Long, String, String, String> person,
                Long auction,
                Collector<Tuple4<Long, String, String, String>> out) {
            row.setFields(auction, person.f1, person.f2, person.f3);
            out.collect(row);
        }
    }

    static void q20(DataStream<Event> events) {
        var type = Types.<Tuple2<Bid, Auction>>TUPLE(Bid.TYPE, Auction.TYPE);
        var auctions = Project.of(events, new Auction(), Auction.TYPE, Joins::auction);
        auctions.keyBy(auction -> auction.id, Types.LONG)
                .connect(Project.bids(events).keyBy(bid -> bid.auction, Types.LONG))
                .process(new Expand(), type)
                .sinkTo(new DigestSink<>((digest, row) -> {
                    Notes.put(digest, row.f0);
                    Notes.put(digest, row.f1);
                    digest.row();
                }));
    }

    /** Of an auction of another category only the category is sent and kept: its bids are of no interest. */
    private static boolean auction(Event event, Auction auction) {
        Auction opened = event.auction();
        if (opened == null) {
            return false;
        }
        if (opened.category == 10) {
            opened.copyTo(auction);
        } else {
            new Auction().copyTo(auction);
            auction.id = opened.id;
        }
        return true;
    }

    private static final class Expand extends KeyedCoProcessFunction<Long, Auction, Bid, Tuple2<Bid, Auction>> {
        private final Tuple2<Bid, Auction> row = new Tuple2<>();
        private transient ValueState<Auction> known;
        private transient ListState<Bid> early;

        @Override
        public void open(OpenContext context) {
            known = getRuntimeContext().getState(new ValueStateDescriptor<>("known", Auction.TYPE));
            early = getRuntimeContext().getListState(new ListStateDescriptor<>("early", Bid.TYPE));
        }

        @Override
        public void processElement1(Auction auction, Context context, Collector<Tuple2<Bid, Auction>> out)
                throws Exception {
            known.update(auction.copy());
            Iterable<Bid> bids = early.get();
            if (bids != null) {
                for (Bid bid : bids) {
                    emit(bid, auction, out);
                }
                early.clear();
            }
        }

        @Override
        public void processElement2(Bid bid, Context context, Collector<Tuple2<Bid, Auction>> out)
                throws Exception {
            Auction auction = known.value();
            if (auction == null) {
                early.add(bid.copy());
            } else {
                emit(bid, auction, out);
            }
        }

        private void emit(Bid bid, Auction auction, Collector<Tuple2<Bid, Auction>> out) {
            if (auction.category == 10) {
                row.setFields(bid, auction);
                out.collect(row);
            }
        }
    }
}
