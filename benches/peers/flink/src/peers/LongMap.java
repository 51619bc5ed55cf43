package peers;

/** Hashes by hashes; 0 stands for none. */
final class LongMap {
    private long[] slots = new long[1 << 5];
    private int used;

    /** Puts a value in place of the one that is returned. */
    long put(long key, long value) {
        int mask = slots.length - 2;
        int at = (int) (key << 1) & mask;
        while (slots[at] != key && slots[at + 1] != 0) {
            at = at + 2 & mask;
        }
        long before = slots[at + 1];
        slots[at] = key;
        slots[at + 1] = value;
        if (before == 0 && ++used > slots.length / 4) {
            grow();
        }
        return before;
    }

    private void grow() {
        long[] old = slots;
        slots = new long[old.length * 2];
        used = 0;
        for (int at = 0; at < old.length; at += 2) {
            if (old[at + 1] != 0) {
                put(old[at], old[at + 1]);
            }
        }
    }
}
