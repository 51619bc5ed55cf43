package peers;

/** Somebody has come who will sell or bid: what the queries look at. */
public final class Person extends Event {
    public long id;
    public String name;
    public String city;
    public String state;

    @Override
    public Person person() {
        return this;
    }
}
