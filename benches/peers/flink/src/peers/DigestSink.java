package peers;

import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/** Sums rows, and discards them. */
public final class DigestSink<T> implements Sink<T> {
    private final Note<T> note;

    public DigestSink(Note<T> note) {
        this.note = note;
    }

    @Override
    public SinkWriter<T> createWriter(WriterInitContext context) {
        return new Writer<>(note);
    }

    private static final class Writer<T> implements SinkWriter<T> {
        private final Note<T> note;
        private final Digest digest = new Digest();

        Writer(Note<T> note) {
            this.note = note;
        }

        @Override
        public void write(T row, Context context) {
            note.note(digest, row);
        }

        @Override
        public void flush(boolean endOfInput) {}

        @Override
        public void close() {
            digest.flush();
        }
    }
}
