package peers;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.functions.co.KeyedCoProcessFunction;
import org.apache.flink.util.Collector;

/** q4, q9: who wins an auction, and at what price. */
final class Winning<A extends Packed<A> & Winning.Lot, B extends Packed<B> & Winning.Offer>
        extends KeyedCoProcessFunction<Long, A, B, Tuple2<A, B>> {
    /** What is known of an auction. */
    interface Lot {
        long opens();

        long expires();
    }

    /** What is known of a bid. */
    interface Offer {
        long price();

        long at();
    }

    private final TypeInformation<B> offer;
    private final TypeInformation<Tuple2<A, B>> lotAndOffer;
    /** A bid of nothing. */
    private final B none;
    /** The auction, and the best bid so far: changed in place, which the heap backend allows. */
    private transient ValueState<Tuple2<A, B>> lots;
    /** Bids that came before the auction. */
    private transient ListState<B> early;

    private Winning(TypeInformation<B> offer, TypeInformation<Tuple2<A, B>> lotAndOffer, B none) {
        this.offer = offer;
        this.lotAndOffer = lotAndOffer;
        this.none = none;
    }

    static void q4(DataStream<Event> events) {
        var auctions = Project.of(events, new Quad(), Quad.TYPE, (event, quad) -> {
            Auction auction = event.auction();
            if (auction == null) {
                return false;
            }
            quad.set(auction.id, auction.dateTime, auction.expires, auction.category);
            return true;
        });
        var bids = Project.of(events, new Triple(), Triple.TYPE, (event, triple) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            triple.set(bid.auction, bid.price, bid.dateTime);
            return true;
        });
        var lotAndOffer = Types.<Tuple2<Quad, Triple>>TUPLE(Quad.TYPE, Triple.TYPE);
        auctions.keyBy(quad -> quad.a, Types.LONG)
                .connect(bids.keyBy(triple -> triple.a, Types.LONG))
                .process(new Winning<>(Triple.TYPE, lotAndOffer, new Triple()), lotAndOffer)
                .map(won -> new Pair(won.f0.d, won.f1.b), Pair.TYPE)
                .keyBy(pair -> pair.a, Types.LONG)
                .map(new Average(), Pair.TYPE)
                .sinkTo(new DigestSink<>((digest, pair) -> digest.put(pair.a).key().put(pair.b).upsert()));
    }

    static void q9(DataStream<Event> events) {
        SingleOutputStreamOperator<Auction> auctions = events.flatMap(
                (Event event, Collector<Auction> out) -> {
                    Auction auction = event.auction();
                    if (auction != null) {
                        out.collect(auction);
                    }
                },
                Auction.TYPE);
        var lotAndOffer = Types.<Tuple2<Auction, Bid>>TUPLE(Auction.TYPE, Bid.TYPE);
        auctions.keyBy(auction -> auction.id, Types.LONG)
                .connect(Project.bids(events).keyBy(bid -> bid.auction, Types.LONG))
                .process(new Winning<>(Bid.TYPE, lotAndOffer, new Bid()), lotAndOffer)
                .sinkTo(new DigestSink<>((digest, row) -> {
                    Notes.put(digest, row.f0);
                    Notes.put(digest, row.f1);
                    digest.row();
                }));
    }

    @Override
    public void open(OpenContext context) {
        lots = getRuntimeContext().getState(new ValueStateDescriptor<>("lots", lotAndOffer));
        early = getRuntimeContext().getListState(new ListStateDescriptor<>("early", offer));
    }

    @Override
    public void processElement1(A auction, Context context, Collector<Tuple2<A, B>> out) throws Exception {
        Tuple2<A, B> lot = Tuple2.of(auction.copy(), none.copy());
        Iterable<B> bids = early.get();
        if (bids != null) {
            for (B bid : bids) {
                offer(lot, bid);
            }
            early.clear();
        }
        lots.update(lot);
        context.timerService().registerEventTimeTimer(auction.expires());
    }

    @Override
    public void processElement2(B bid, Context context, Collector<Tuple2<A, B>> out) throws Exception {
        Tuple2<A, B> lot = lots.value();
        if (lot == null) {
            early.add(bid.copy());
            context.timerService().registerEventTimeTimer(bid.at());
        } else {
            offer(lot, bid);
        }
    }

    /** The dearest wins; of equal ones that which came first. */
    private void offer(Tuple2<A, B> lot, B bid) {
        B best = lot.f1;
        boolean isInTime = bid.at() >= lot.f0.opens() && bid.at() <= lot.f0.expires();
        boolean isBetter = bid.price() > best.price() || bid.price() == best.price() && bid.at() < best.at();
        if (isInTime && isBetter) {
            bid.copyTo(best);
        }
    }

    @Override
    public void onTimer(long at, OnTimerContext context, Collector<Tuple2<A, B>> out) throws Exception {
        Tuple2<A, B> lot = lots.value();
        if (lot == null) {
            dropEarly(at);
        } else if (lot.f0.expires() <= at) {
            lots.clear();
            if (lot.f1.price() > 0) {
                out.collect(lot);
            }
        }
    }

    /** Bids whose auction would have come are in vain. */
    private void dropEarly(long at) throws Exception {
        Iterable<B> bids = early.get();
        if (bids == null) {
            return;
        }
        List<B> later = new ArrayList<>();
        for (B bid : bids) {
            if (bid.at() > at) {
                later.add(bid);
            }
        }
        early.update(later);
    }

    /** The mean price of a category so far, anew with each. */
    private static final class Average extends RichMapFunction<Pair, Pair> {
        private final Pair average = new Pair();
        private transient ValueState<Pair> sums;

        @Override
        public void open(OpenContext context) {
            sums = getRuntimeContext().getState(new ValueStateDescriptor<>("sums", Pair.TYPE));
        }

        @Override
        public Pair map(Pair sold) throws Exception {
            Pair sum = sums.value();
            if (sum == null) {
                sum = new Pair();
                sums.update(sum);
            }
            sum.set(sum.a + sold.b, sum.b + 1);
            return average.set(sold.a, sum.a / sum.b);
        }
    }
}
