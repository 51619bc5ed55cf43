package peers;

import java.io.IOException;
import java.io.Serializable;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SourceSplit;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/** Records that are a function of their numbers; each reader reads its share of blocks. */
public final class Numbered<T> implements Source<T, Numbered.Share, Void> {
    /** Records in a row that one reader reads, as in the benchmark program. */
    private static final long BLOCK = 5_000;

    /** Records of one call: so many that the calls are not what is measured. */
    private static final int AT_ONCE = 50;

    private final long total;
    private final Item<T> item;

    public Numbered(long total, Item<T> item) {
        this.total = total;
        this.item = item;
    }

    /** The record with a number. */
    @FunctionalInterface
    public interface Item<T> extends Serializable {
        T at(long number);
    }

    /** The blocks `index`, `index + of` ..., after the first `done` records of them. */
    public record Share(int index, int of, long done) implements SourceSplit {
        @Override
        public String splitId() {
            return index + "/" + of;
        }

        long number(long done) {
            return (done / BLOCK * of + index) * BLOCK + done % BLOCK;
        }
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.BOUNDED;
    }

    @Override
    public SplitEnumerator<Share, Void> createEnumerator(SplitEnumeratorContext<Share> context) {
        return new Shares(context);
    }

    @Override
    public SplitEnumerator<Share, Void> restoreEnumerator(SplitEnumeratorContext<Share> context, Void state) {
        return new Shares(context);
    }

    @Override
    public SimpleVersionedSerializer<Share> getSplitSerializer() {
        return new ShareSerializer();
    }

    @Override
    public SimpleVersionedSerializer<Void> getEnumeratorCheckpointSerializer() {
        return new NothingSerializer();
    }

    @Override
    public SourceReader<T, Share> createReader(SourceReaderContext context) {
        return new Reader();
    }

    record Shares(SplitEnumeratorContext<Share> context) implements SplitEnumerator<Share, Void> {
        @Override
        public void start() {}

        @Override
        public void addReader(int index) {
            context.assignSplit(new Share(index, context.currentParallelism(), 0), index);
            context.signalNoMoreSplits(index);
        }

        @Override
        public void handleSplitRequest(int index, String host) {}

        @Override
        public void addSplitsBack(List<Share> shares, int index) {}

        @Override
        public Void snapshotState(long checkpoint) {
            return null;
        }

        @Override
        public void close() {}
    }

    private final class Reader implements SourceReader<T, Share> {
        private final CompletableFuture<Void> available = new CompletableFuture<>();
        private Share share;
        private long done;

        @Override
        public void start() {}

        @Override
        public void addSplits(List<Share> shares) {
            share = shares.get(0);
            done = share.done();
            available.complete(null);
        }

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public InputStatus pollNext(ReaderOutput<T> output) {
            if (share == null) {
                return InputStatus.NOTHING_AVAILABLE;
            }
            // A block is a multiple of what is read at once.
            long first = share.number(done);
            long end = Math.min(total, first + AT_ONCE);
            for (long number = first; number < end; number++) {
                output.collect(item.at(number));
            }
            done += AT_ONCE;
            return end < first + AT_ONCE || share.number(done) >= total
                    ? InputStatus.END_OF_INPUT
                    : InputStatus.MORE_AVAILABLE;
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return available;
        }

        @Override
        public List<Share> snapshotState(long checkpoint) {
            return share == null ? List.of() : List.of(new Share(share.index(), share.of(), done));
        }

        @Override
        public void close() {}
    }

    static final class ShareSerializer implements SimpleVersionedSerializer<Share> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Share share) {
            return ByteBuffer.allocate(16).putInt(share.index()).putInt(share.of()).putLong(share.done()).array();
        }

        @Override
        public Share deserialize(int version, byte[] bytes) {
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            return new Share(buffer.getInt(), buffer.getInt(), buffer.getLong());
        }
    }

    static final class NothingSerializer implements SimpleVersionedSerializer<Void> {
        @Override
        public int getVersion() {
            return 1;
        }

        @Override
        public byte[] serialize(Void nothing) {
            return new byte[0];
        }

        @Override
        public Void deserialize(int version, byte[] bytes) throws IOException {
            return null;
        }
    }
}
