package peers;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.api.connector.source.Boundedness;
import org.apache.flink.api.connector.source.ReaderOutput;
import org.apache.flink.api.connector.source.Source;
import org.apache.flink.api.connector.source.SourceReader;
import org.apache.flink.api.connector.source.SourceReaderContext;
import org.apache.flink.api.connector.source.SplitEnumerator;
import org.apache.flink.api.connector.source.SplitEnumeratorContext;
import org.apache.flink.core.io.InputStatus;
import org.apache.flink.core.io.SimpleVersionedSerializer;

/**
 * Keys, and when each was due, in microseconds since the clock started: at a fixed rate, however far the job
 * has come. The numbers are those of `pace.rs` of the benchmark program, to the last event.
 */
final class Paced implements Source<Pair, Numbered.Share, Void> {
    /** Events of one call at most: so many that the calls are not what is measured. */
    private static final int AT_ONCE = 50;

    /**
     * A reader that has emitted what was due is asked again so long after. It costs two changes of threads,
     * and what is emitted waits for the flush of its buffer all the same.
     */
    private static final long AGAIN_US = 200;

    /** When the first reader was asked for an event; 0 before that. All tasks are in one process. */
    private static final AtomicLong STARTED_NS = new AtomicLong();

    private final double eventsPerSecond;
    private final long keys;
    private final double lastsSeconds;

    Paced(double eventsPerSecond, long keys, double lastsSeconds) {
        this.eventsPerSecond = eventsPerSecond;
        this.keys = keys;
        this.lastsSeconds = lastsSeconds;
    }

    /** The clock is to start anew. */
    static void reset() {
        STARTED_NS.set(0);
    }

    static long elapsedNs() {
        long started = STARTED_NS.get();
        long now = System.nanoTime();
        if (started == 0) {
            started = STARTED_NS.compareAndExchange(0, now);
            return started == 0 ? 0 : now - started;
        }
        return now - started;
    }

    @Override
    public Boundedness getBoundedness() {
        return Boundedness.BOUNDED;
    }

    @Override
    public SplitEnumerator<Numbered.Share, Void> createEnumerator(SplitEnumeratorContext<Numbered.Share> context) {
        return new Numbered.Shares(context);
    }

    @Override
    public SplitEnumerator<Numbered.Share, Void> restoreEnumerator(
            SplitEnumeratorContext<Numbered.Share> context, Void state) {
        return new Numbered.Shares(context);
    }

    @Override
    public SimpleVersionedSerializer<Numbered.Share> getSplitSerializer() {
        return new Numbered.ShareSerializer();
    }

    @Override
    public SimpleVersionedSerializer<Void> getEnumeratorCheckpointSerializer() {
        return new Numbered.NothingSerializer();
    }

    @Override
    public SourceReader<Pair, Numbered.Share> createReader(SourceReaderContext context) {
        return new Reader();
    }

    /** Emits the events with the numbers `index`, `index + of` ... */
    private final class Reader implements SourceReader<Pair, Numbered.Share> {
        private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
        private final Pair event = new Pair();
        private CompletableFuture<Void> available = new CompletableFuture<>();
        private Numbered.Share share;
        private long done;

        @Override
        public void start() {}

        @Override
        public void addSplits(List<Numbered.Share> shares) {
            share = shares.get(0);
            done = share.done();
            available.complete(null);
        }

        @Override
        public void notifyNoMoreSplits() {}

        @Override
        public InputStatus pollNext(ReaderOutput<Pair> output) {
            if (share == null) {
                return InputStatus.NOTHING_AVAILABLE;
            }
            long due = due(elapsedNs() / 1e9);
            long last = due(lastsSeconds);
            long end = Math.min(Math.min(due, last), done + AT_ONCE);
            for (; done < end; done++) {
                long number = done * share.of() + share.index();
                long key = Long.remainderUnsigned(Digest.mix(number), keys);
                output.collect(event.set(key, (long) (number * (1e6 / eventsPerSecond))));
            }
            if (done >= last) {
                return InputStatus.END_OF_INPUT;
            }
            if (done < due) {
                return InputStatus.MORE_AVAILABLE;
            }
            var later = new CompletableFuture<Void>();
            available = later;
            timer.schedule(() -> later.complete(null), AGAIN_US, TimeUnit.MICROSECONDS);
            return InputStatus.NOTHING_AVAILABLE;
        }

        /** How many events of this reader are due so long after the start. */
        private long due(double elapsedSeconds) {
            double mine = (elapsedSeconds * eventsPerSecond - share.index()) / share.of();
            return mine < 0 ? 0 : (long) mine + 1;
        }

        @Override
        public CompletableFuture<Void> isAvailable() {
            return available;
        }

        @Override
        public List<Numbered.Share> snapshotState(long checkpoint) {
            return share == null ? List.of() : List.of(new Numbered.Share(share.index(), share.of(), done));
        }

        @Override
        public void close() {
            timer.shutdownNow();
        }
    }
}
