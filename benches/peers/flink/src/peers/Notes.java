package peers;

/** The fields of a whole record, in the order in which they are summed. */
final class Notes {
    private Notes() {}

    static void put(Digest digest, Bid bid) {
        digest.put(bid.dateTime).put(bid.auction).put(bid.bidder).put(bid.price);
        digest.text(bid.channel).text(bid.url).text(bid.extra);
    }

    static void put(Digest digest, Auction auction) {
        digest.put(auction.dateTime).put(auction.id).text(auction.itemName).text(auction.description);
        digest.put(auction.initialBid).put(auction.reserve).put(auction.expires);
        digest.put(auction.seller).put(auction.category).text(auction.extra);
    }

    /** A total, and three parts of it: as a list, which has a length. */
    static void counts(Digest digest, long[] counts, int at) {
        digest.put(counts[at]).put(3).put(counts[at + 1]).put(counts[at + 2]).put(counts[at + 3]);
    }
}
