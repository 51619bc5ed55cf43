package peers;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.typeutils.ValueTypeInfo;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** Something is to be sold. */
public final class Auction extends Event implements Packed<Auction>, Winning.Lot {
    public static final TypeInformation<Auction> TYPE = new ValueTypeInfo<>(Auction.class);

    public long id;
    public String itemName = "";
    public String description = "";
    /** Cents. */
    public long initialBid;
    /** Cents. */
    public long reserve;
    /** The last time at which a bid counts. */
    public long expires;
    public long seller;
    public long category;
    public String extra = "";

    @Override
    public Auction auction() {
        return this;
    }

    @Override
    public long opens() {
        return dateTime;
    }

    @Override
    public long expires() {
        return expires;
    }

    @Override
    public Auction empty() {
        return new Auction();
    }

    @Override
    public void copyTo(Auction target) {
        target.dateTime = dateTime;
        target.id = id;
        target.itemName = itemName;
        target.description = description;
        target.initialBid = initialBid;
        target.reserve = reserve;
        target.expires = expires;
        target.seller = seller;
        target.category = category;
        target.extra = extra;
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        out.writeLong(dateTime);
        out.writeLong(id);
        StringValue.writeString(itemName, out);
        StringValue.writeString(description, out);
        out.writeLong(initialBid);
        out.writeLong(reserve);
        out.writeLong(expires);
        out.writeLong(seller);
        out.writeLong(category);
        StringValue.writeString(extra, out);
    }

    @Override
    public void read(DataInputView in) throws IOException {
        dateTime = in.readLong();
        id = in.readLong();
        itemName = StringValue.readString(in);
        description = StringValue.readString(in);
        initialBid = in.readLong();
        reserve = in.readLong();
        expires = in.readLong();
        seller = in.readLong();
        category = in.readLong();
        extra = StringValue.readString(in);
    }
}
