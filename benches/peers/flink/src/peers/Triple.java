package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Three numbers; the first is the key. As a bid: auction, price, time. */
public final class Triple implements Packed<Triple>, Winning.Offer {
    public static final TypeInformation<Triple> TYPE = new ValueTypeInfo<>(Triple.class);

    public long a;
    public long b;
    public long c;

    public Triple set(long a, long b, long c) {
        this.a = a;
        this.b = b;
        this.c = c;
        return this;
    }

    @Override
    public long price() {
        return b;
    }

    @Override
    public long at() {
        return c;
    }

    @Override
    public Triple empty() {
        return new Triple();
    }

    @Override
    public void copyTo(Triple target) {
        target.set(a, b, c);
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeLong(a);
        out.writeLong(b);
        out.writeLong(c);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        set(in.readLong(), in.readLong(), in.readLong());
    }
}
