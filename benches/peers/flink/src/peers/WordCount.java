package peers;

import java.nio.charset.StandardCharsets;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichMapFunction;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.Collector;

/** Lines, copied as a reader of files would make them, split into words, counted; each count is said. */
final class WordCount {
    /** All different lines. Sources find them here, as they run in this process. */
    static byte[][] lines;

    private WordCount() {}

    static void build(StreamExecutionEnvironment env, long records) {
        var source = new Numbered<>(records, WordCount::line);
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "lines", Types.STRING)
                .flatMap(WordCount::split, Types.STRING)
                .keyBy(word -> word, Types.STRING)
                .map(new Count(), Types.TUPLE(Types.STRING, Pair.TYPE))
                .sinkTo(new DigestSink<>((digest, row) -> digest.hashed(letters(row.f0) * row.f1.b)));
    }

    private static String line(long number) {
        return new String(lines[(int) (number % lines.length)], StandardCharsets.ISO_8859_1);
    }

    private static void split(String line, Collector<String> out) {
        int start = 0;
        for (int end = line.indexOf(' '); end >= 0; end = line.indexOf(' ', start)) {
            out.collect(line.substring(start, end));
            start = end + 1;
        }
        out.collect(line.substring(start));
    }

    /** The letters of a word, which has at most eight, are the word. */
    private static long letters(String word) {
        long letters = 0;
        for (int i = 0; i < word.length(); i++) {
            letters = letters << 8 | word.charAt(i);
        }
        return letters;
    }

    private static final class Count extends RichMapFunction<String, Tuple2<String, Pair>> {
        private final Tuple2<String, Pair> row = new Tuple2<>();
        private transient ValueState<Pair> counts;

        @Override
        public void open(OpenContext context) {
            counts = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Pair.TYPE));
        }

        @Override
        public Tuple2<String, Pair> map(String word) throws Exception {
            Pair count = counts.value();
            if (count == null) {
                count = new Pair();
                counts.update(count);
            }
            count.b++;
            row.setFields(word, count);
            return row;
        }
    }
}
