package peers;

import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/** The queries, over events that are in memory. */
final class Nexmark {
    private static final Map<String, Consumer<DataStream<Event>>> QUERIES = Map.ofEntries(
            Map.entry("q0", Stateless::q0),
            Map.entry("q1", Stateless::q1),
            Map.entry("q2", Stateless::q2),
            Map.entry("q3", Joins::q3),
            Map.entry("q4", Winning::q4),
            Map.entry("q5", Windows::q5),
            Map.entry("q7", Windows::q7),
            Map.entry("q8", Windows::q8),
            Map.entry("q9", Winning::q9),
            Map.entry("q11", Windows::q11),
            Map.entry("q12", Windows::q12),
            Map.entry("q13", Stateless::q13),
            Map.entry("q14", Stateless::q14),
            Map.entry("q15", Daily::q15),
            Map.entry("q16", Reports::q16),
            Map.entry("q17", Reports::q17),
            Map.entry("q18", Tops::q18),
            Map.entry("q19", Tops::q19),
            Map.entry("q20", Joins::q20),
            Map.entry("q21", Stateless::q21),
            Map.entry("q22", Stateless::q22));

    /** Those that need watermarks: the others are spared them. */
    private static final Set<String> TIMED = Set.of("q4", "q5", "q7", "q8", "q9", "q11", "q15");

    /** All events. Sources find them here, as they run in this process. */
    static Event[] events;

    private Nexmark() {}

    static void build(StreamExecutionEnvironment env, String name) {
        var query = QUERIES.get(name);
        if (query == null) {
            throw new IllegalArgumentException("there is no job for " + name);
        }
        WatermarkStrategy<Event> watermarks = TIMED.contains(name)
                ? WatermarkStrategy.<Event>forMonotonousTimestamps()
                        .withTimestampAssigner((event, unused) -> event.dateTime)
                : WatermarkStrategy.noWatermarks();
        var source = new Numbered<Event>(events.length, number -> events[(int) number]);
        query.accept(env.fromSource(source, watermarks, "events", Types.POJO(Event.class)));
    }
}
