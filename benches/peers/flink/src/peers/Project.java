package peers;

import java.io.Serializable;
import org.apache.flink.api.common.functions.FlatMapFunction;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.util.Collector;

/** What a query needs of an event, in one record that is used again and again. */
public final class Project<T> implements FlatMapFunction<Event, T> {
    private final T record;
    private final Projection<T> projection;

    private Project(T record, Projection<T> projection) {
        this.record = record;
        this.projection = projection;
    }

    /** Sets the record to what is needed of the event; whether anything is. */
    @FunctionalInterface
    public interface Projection<T> extends Serializable {
        boolean project(Event event, T record);
    }

    /** The projections of all events, by way of `record`. */
    public static <T> DataStream<T> of(
            DataStream<Event> events, T record, TypeInformation<T> type, Projection<T> projection) {
        return events.flatMap(new Project<>(record, projection), type);
    }

    /** The bids, as they are: for what is chained to the source, or serialises them itself. */
    public static DataStream<Bid> bids(DataStream<Event> events) {
        return events.flatMap(
                (Event event, Collector<Bid> out) -> {
                    Bid bid = event.bid();
                    if (bid != null) {
                        out.collect(bid);
                    }
                },
                Bid.TYPE);
    }

    @Override
    public void flatMap(Event event, Collector<T> out) {
        if (projection.project(event, record)) {
            out.collect(record);
        }
    }
}
