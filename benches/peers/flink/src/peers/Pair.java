package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Two numbers; the first is the key. */
public final class Pair implements Packed<Pair> {
    public static final TypeInformation<Pair> TYPE = new ValueTypeInfo<>(Pair.class);

    public long a;
    public long b;

    public Pair() {}

    public Pair(long a, long b) {
        set(a, b);
    }

    public Pair set(long a, long b) {
        this.a = a;
        this.b = b;
        return this;
    }

    @Override
    public Pair empty() {
        return new Pair();
    }

    @Override
    public void copyTo(Pair target) {
        target.set(a, b);
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeLong(a);
        out.writeLong(b);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        set(in.readLong(), in.readLong());
    }
}
