package peers;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** All events of a run, read from the file that the benchmark program writes (`benches events`). */
final class Events {
    private static final int PERSON = 0;
    private static final int AUCTION = 1;

    private final DataInputStream in;
    private final String[] texts;

    private Events(DataInputStream in) throws IOException {
        this.in = in;
        texts = new String[number()];
        for (int i = 0; i < texts.length; i++) {
            texts[i] = new String(in.readNBytes(number()), StandardCharsets.ISO_8859_1);
        }
    }

    static Event[] read(Path path) throws IOException {
        try (var in = new DataInputStream(new BufferedInputStream(Files.newInputStream(path), 1 << 20))) {
            Events events = new Events(in);
            Event[] all = new Event[events.number()];
            for (int i = 0; i < all.length; i++) {
                all[i] = events.event();
            }
            return all;
        }
    }

    private Event event() throws IOException {
        int kind = in.readByte();
        long dateTime = in.readLong();
        Event event = kind == PERSON ? person() : kind == AUCTION ? auction() : bid();
        event.dateTime = dateTime;
        return event;
    }

    private Person person() throws IOException {
        Person person = new Person();
        person.id = in.readLong();
        person.name = text();
        text(); // address
        text(); // credit card
        person.city = text();
        person.state = text();
        text(); // extra
        return person;
    }

    private Auction auction() throws IOException {
        Auction auction = new Auction();
        auction.id = in.readLong();
        auction.itemName = text();
        auction.description = text();
        auction.initialBid = in.readLong();
        auction.reserve = in.readLong();
        auction.expires = in.readLong();
        auction.seller = in.readLong();
        auction.category = in.readLong();
        auction.extra = text();
        return auction;
    }

    private Bid bid() throws IOException {
        Bid bid = new Bid();
        bid.auction = in.readLong();
        bid.bidder = in.readLong();
        bid.price = in.readLong();
        bid.channel = text();
        bid.url = text();
        bid.extra = text();
        return bid;
    }

    private String text() throws IOException {
        return texts[number()];
    }

    private int number() throws IOException {
        return in.readInt();
    }
}
