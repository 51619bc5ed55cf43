package peers;

/**
 * What happens at the auction house. Events are made before the clock starts, and what is needed of
 * them is projected before the first exchange: as an event, none is ever serialised.
 */
public class Event {
    /** Milliseconds. */
    public long dateTime;

    /** The bid, if it is one. */
    public Bid bid() {
        return null;
    }

    /** The auction, if it is one. */
    public Auction auction() {
        return null;
    }

    /** The person, if it is one. */
    public Person person() {
        return null;
    }
}
