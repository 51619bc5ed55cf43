package peers;

/**
 * How late events were, in microseconds: an HDR histogram of three digits up to a minute, as that of the
 * benchmark program. Below 2,048 each value has a bucket; above, each power of two has 1,024 of them.
 */
final class Lags {
    private static final int HALF_BITS = 10;
    private static final long LONGEST_US = 60_000_000;

    private static Lags all = new Lags();

    private final long[] buckets = new long[bucket(LONGEST_US) + 1];
    private long events;
    private long maxUs;

    /** An event came so long after it was due. */
    void note(long lateUs) {
        long us = Math.min(Math.max(lateUs, 0), LONGEST_US);
        buckets[bucket(us)]++;
        events++;
        maxUs = Math.max(maxUs, us);
    }

    private static int bucket(long us) {
        int shift = shift(us);
        return (shift << HALF_BITS) + (int) (us >>> shift);
    }

    private static int shift(long us) {
        return Math.max(0, 63 - HALF_BITS - Long.numberOfLeadingZeros(us));
    }

    /** The greatest value of a bucket. */
    private static long greatest(int bucket) {
        int shift = Math.max(0, (bucket >> HALF_BITS) - 1);
        long first = bucket - ((long) shift << HALF_BITS);
        return (first + 1 << shift) - 1;
    }

    /** Adds this to what is taken by {@link #take}. */
    void flush() {
        synchronized (Lags.class) {
            for (int i = 0; i < buckets.length; i++) {
                all.buckets[i] += buckets[i];
            }
            all.events += events;
            all.maxUs = Math.max(all.maxUs, maxUs);
        }
    }

    /** All that was flushed since the last time. */
    static synchronized Lags take() {
        Lags taken = all;
        all = new Lags();
        return taken;
    }

    long events() {
        return events;
    }

    /** Milliseconds within which this share of the events came. */
    double withinMs(double share) {
        long rest = Math.max(1, (long) Math.ceil(share * events));
        for (int i = 0; i < buckets.length; i++) {
            rest -= buckets[i];
            if (rest <= 0) {
                return greatest(i) / 1e3;
            }
        }
        return 0;
    }

    double maxMs() {
        return maxUs / 1e3;
    }
}
