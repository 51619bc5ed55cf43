package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** Four numbers; the first is the key. As an auction: id, opens, expires, category. */
public final class Quad implements Packed<Quad>, Winning.Lot {
    public static final TypeInformation<Quad> TYPE = new ValueTypeInfo<>(Quad.class);

    public long a;
    public long b;
    public long c;
    public long d;

    public Quad set(long a, long b, long c, long d) {
        this.a = a;
        this.b = b;
        this.c = c;
        this.d = d;
        return this;
    }

    @Override
    public long opens() {
        return b;
    }

    @Override
    public long expires() {
        return c;
    }

    @Override
    public Quad empty() {
        return new Quad();
    }

    @Override
    public void copyTo(Quad target) {
        target.set(a, b, c, d);
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeLong(a);
        out.writeLong(b);
        out.writeLong(c);
        out.writeLong(d);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        set(in.readLong(), in.readLong(), in.readLong(), in.readLong());
    }
}
