package peers;

import java.util.stream.LongStream;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.datastream.DataStream;

/** q0, q1, q2, q13, q14, q21, q22: what can be said of each bid by itself. */
final class Stateless {
    private Stateless() {}

    static void q0(DataStream<Event> events) {
        Project.bids(events).sinkTo(new DigestSink<>(Stateless::noteBid));
    }

    static void q1(DataStream<Event> events) {
        Project.of(events, new Bid(), Bid.TYPE, (event, converted) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            bid.copyTo(converted);
            converted.price = 908 * bid.price;
            return true;
        }).sinkTo(new DigestSink<>(Stateless::noteBid));
    }

    private static void noteBid(Digest digest, Bid bid) {
        digest.put(bid.auction).put(bid.bidder).put(bid.price).put(bid.dateTime).text(bid.extra).row();
    }

    static void q2(DataStream<Event> events) {
        Project.of(events, new Pair(), Pair.TYPE, (event, pair) -> {
            Bid bid = event.bid();
            if (bid == null || bid.auction % 123 != 0) {
                return false;
            }
            pair.set(bid.auction, bid.price);
            return true;
        }).sinkTo(new DigestSink<>((digest, pair) -> digest.put(pair.a).put(pair.b).row()));
    }

    /** What the side input has for each key: bounded, and in memory before the first event. */
    private static final String[] SIDE_INPUT =
            LongStream.range(0, 10_000).mapToObj(Long::toString).toArray(String[]::new);

    static void q13(DataStream<Event> events) {
        var type = Types.<Tuple2<Bid, String>>TUPLE(Bid.TYPE, Types.STRING);
        Project.of(events, new Tuple2<>(), type, (event, row) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            row.setFields(bid, SIDE_INPUT[(int) (bid.auction % SIDE_INPUT.length)]);
            return true;
        }).sinkTo(new DigestSink<>((digest, row) -> {
            Bid bid = row.f0;
            digest.put(bid.auction).put(bid.bidder).put(bid.price).put(bid.dateTime).text(row.f1).row();
        }));
    }

    /** The bid, with its price converted, and the part of the day and the count beside it. */
    static void q14(DataStream<Event> events) {
        var type = Types.<Tuple4<Bid, Long, String, Long>>TUPLE(Bid.TYPE, Types.LONG, Types.STRING, Types.LONG);
        Project.of(events, new Tuple4<>(), type, (event, row) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            long price = 908 * bid.price;
            if (price <= 1_000_000_000L || price >= 50_000_000_000L) {
                return false;
            }
            row.setFields(bid, price, partOfDay(bid.minute() / 60), count(bid.extra, 'c'));
            return true;
        }).sinkTo(new DigestSink<>((digest, row) -> {
            Bid bid = row.f0;
            digest.put(bid.auction).put(bid.bidder).put(row.f1).string(row.f2);
            digest.put(bid.dateTime).text(bid.extra).put(row.f3).row();
        }));
    }

    private static String partOfDay(long hour) {
        return hour >= 8 && hour <= 18 ? "dayTime" : hour <= 6 || hour >= 20 ? "nightTime" : "otherTime";
    }

    private static long count(String text, char letter) {
        long count = 0;
        for (int i = 0; i < text.length(); i++) {
            count += text.charAt(i) == letter ? 1 : 0;
        }
        return count;
    }

    static void q21(DataStream<Event> events) {
        var type = Types.<Tuple2<Bid, String>>TUPLE(Bid.TYPE, Types.STRING);
        Project.of(events, new Tuple2<>(), type, (event, row) -> {
            Bid bid = event.bid();
            String id = bid == null ? null : channelId(bid);
            row.setFields(bid, id);
            return id != null;
        }).sinkTo(new DigestSink<>((digest, row) -> {
            Bid bid = row.f0;
            digest.put(bid.auction).put(bid.bidder).put(bid.price).text(bid.channel).string(row.f1).row();
        }));
    }

    private static String channelId(Bid bid) {
        String channel = bid.channel;
        if (channel.equalsIgnoreCase("apple")) {
            return "0";
        } else if (channel.equalsIgnoreCase("google")) {
            return "1";
        } else if (channel.equalsIgnoreCase("facebook")) {
            return "2";
        } else if (channel.equalsIgnoreCase("baidu")) {
            return "3";
        }
        String parameter = "&channel_id=";
        int at = bid.url.indexOf(parameter);
        if (at < 0) {
            return null;
        }
        int start = at + parameter.length();
        int end = bid.url.indexOf('&', start);
        return bid.url.substring(start, end < 0 ? bid.url.length() : end);
    }

    static void q22(DataStream<Event> events) {
        var type = Types.<Tuple4<Bid, String, String, String>>TUPLE(
                Bid.TYPE, Types.STRING, Types.STRING, Types.STRING);
        Project.of(events, new Tuple4<>(), type, (event, row) -> {
            Bid bid = event.bid();
            if (bid == null) {
                return false;
            }
            int first = afterSlashes(bid.url, 0, 3);
            int second = afterSlashes(bid.url, first, 1);
            int third = afterSlashes(bid.url, second, 1);
            row.setFields(bid, folder(bid.url, first), folder(bid.url, second), folder(bid.url, third));
            return true;
        }).sinkTo(new DigestSink<>((digest, row) -> {
            Bid bid = row.f0;
            digest.put(bid.auction).put(bid.bidder).put(bid.price).text(bid.channel);
            digest.string(row.f1).string(row.f2).string(row.f3).row();
        }));
    }

    private static int afterSlashes(String url, int from, int slashes) {
        int at = from;
        for (int i = 0; i < slashes && at >= 0; i++) {
            at = url.indexOf('/', at) + 1;
            if (at == 0) {
                return url.length();
            }
        }
        return at;
    }

    private static String folder(String url, int start) {
        int end = url.indexOf('/', start);
        return url.substring(start, end < 0 ? url.length() : end);
    }
}
