package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** Somebody offers a price. */
public final class Bid extends Event implements Packed<Bid>, Winning.Offer {
    public static final TypeInformation<Bid> TYPE = new ValueTypeInfo<>(Bid.class);

    private static final long DAY_MS = 86_400_000;

    public long auction;
    public long bidder;
    /** Cents. */
    public long price;
    public String channel = "";
    public String url = "";
    public String extra = "";

    @Override
    public Bid bid() {
        return this;
    }

    @Override
    public long price() {
        return price;
    }

    @Override
    public long at() {
        return dateTime;
    }

    /** Days since 1970-01-01. */
    public long day() {
        return dateTime / DAY_MS;
    }

    /** Minutes since midnight. */
    public long minute() {
        return dateTime % DAY_MS / 60_000;
    }

    /** Which of the three levels of prices of q15 to q17 it is in. */
    public int level() {
        return price < 10_000 ? 0 : price < 1_000_000 ? 1 : 2;
    }

    @Override
    public Bid empty() {
        return new Bid();
    }

    @Override
    public void copyTo(Bid target) {
        target.dateTime = dateTime;
        target.auction = auction;
        target.bidder = bidder;
        target.price = price;
        target.channel = channel;
        target.url = url;
        target.extra = extra;
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeLong(dateTime);
        out.writeLong(auction);
        out.writeLong(bidder);
        out.writeLong(price);
        StringValue.writeString(channel, out);
        StringValue.writeString(url, out);
        StringValue.writeString(extra, out);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        dateTime = in.readLong();
        auction = in.readLong();
        bidder = in.readLong();
        price = in.readLong();
        channel = StringValue.readString(in);
        url = StringValue.readString(in);
        extra = StringValue.readString(in);
    }
}
