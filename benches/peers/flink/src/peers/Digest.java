package peers;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What a job has said, in two numbers that do not depend on the order in which it said it: as
 * `digest.rs` of the benchmark program defines them, word by word.
 */
public final class Digest {
    private static final VarHandle LONGS =
            MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final AtomicLong ALL_ROWS = new AtomicLong();
    private static final AtomicLong ALL_DIGEST = new AtomicLong();

    private final byte[] bytes = new byte[8];
    private final LongMap last = new LongMap();
    private long rows;
    private long digest;
    private long words;
    private long key;

    static long mix(long i) {
        long z = i + 0x9e3779b97f4a7c15L;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    /** A field of the row. */
    public Digest put(long word) {
        words = (Long.rotateLeft(words, 5) ^ word) * 0x517cc1b727220a95L;
        return this;
    }

    /** A text that is drawn from a pool: by its length and its first and last eight bytes. */
    public Digest text(String text) {
        int length = text.length();
        put(length);
        if (length < 8) {
            long word = 0;
            for (int i = 0; i < length; i++) {
                word = word << 8 | text.charAt(i);
            }
            return put(word);
        }
        return put(eight(text, 0)).put(eight(text, length - 8));
    }

    @SuppressWarnings("deprecation") // It copies bytes of a Latin-1 string without a look at them.
    private long eight(String text, int at) {
        text.getBytes(at, at + 8, bytes, 0);
        return (long) LONGS.get(bytes, 0);
    }

    /** Another text: by all its bytes. */
    public Digest string(String text) {
        int length = text.length();
        for (int at = 0; at < length; at += 8) {
            long word = 0;
            for (int i = Math.min(length, at + 8) - 1; i >= at; i--) {
                word = word << 8 | text.charAt(i);
            }
            put(word);
        }
        return put(0xff);
    }

    /** The row is said. */
    public void row() {
        add(1, finish());
    }

    /** A row is said that has this hash. */
    public void hashed(long hash) {
        add(1, hash);
    }

    /** As many of them are said. */
    public void rows(long count) {
        add(count, finish() * count);
    }

    /** The row, which was said, is taken back. */
    public void retract() {
        add(-1, -finish());
    }

    /** What was put is the key of an {@link #upsert}. */
    public Digest key() {
        key = finish();
        return this;
    }

    /** What was put since is the row of the key, in place of the one before. */
    public void upsert() {
        long row = key ^ Long.rotateLeft(finish(), 32);
        long before = last.put(key, row);
        add(before == 0 ? 1 : 0, row - before);
    }

    private long finish() {
        long hash = mix(words);
        words = 0;
        return hash;
    }

    private void add(long rows, long digest) {
        this.rows += rows;
        this.digest += digest;
    }

    /** Adds this to what is taken by {@link #take}. */
    void flush() {
        ALL_ROWS.addAndGet(rows);
        ALL_DIGEST.addAndGet(digest);
    }

    /** Rows and digest of all that was flushed since the last time. */
    static long[] take() {
        return new long[] {ALL_ROWS.getAndSet(0), ALL_DIGEST.getAndSet(0)};
    }
}
