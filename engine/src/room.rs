//! Room for the records of a batch before they are made.

/// Bytes of room that a batch begins with, at most: of larger ones the growth is little beside the work.
const BYTES_MAX: usize = 128 << 10;

/// How many records the batches of an output have had lately.
///
/// A batch that is given away leaves no memory for the next one. Grown from nothing by doubling, a batch of
/// large records is copied as often as it is worked on: that was a tenth of the instructions of q9 of Nexmark.
#[derive(Debug, Default)]
pub(crate) struct Room(usize);

impl Room {
    /// Makes room in a batch that has none.
    pub(crate) fn make<T>(&self, batch: &mut Vec<T>) {
        if batch.capacity() == 0 {
            // Some more, or a batch with one record more than the last is copied once.
            let records = self.0 + self.0 / 8;
            batch.reserve_exact(records.min(BYTES_MAX / size_of::<T>().max(1)));
        }
    }

    /// Notes how many records a batch has got.
    pub(crate) fn note(&mut self, records: usize) {
        self.0 = records.max(self.0 - self.0 / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_begins_with_as_much_room_as_the_last_ones_took() {
        let mut room = Room::default();
        let mut batch = Vec::<u64>::new();
        room.make(&mut batch);
        assert_eq!(batch.capacity(), 0);
        room.note(1000);
        room.make(&mut batch);
        assert!((1000..1200).contains(&batch.capacity()));
        // What is there is used again, whatever was noted.
        room.note(2000);
        room.make(&mut batch);
        assert!(batch.capacity() < 1200);
    }

    #[test]
    fn one_large_batch_is_forgotten_and_takes_no_more_than_the_most() {
        let mut room = Room::default();
        room.note(10_000_000);
        let mut batch = Vec::<u64>::new();
        room.make(&mut batch);
        assert!(batch.capacity() <= 2 * BYTES_MAX / 8);
        (0..200).for_each(|_| room.note(3));
        let mut batch = Vec::<u64>::new();
        room.make(&mut batch);
        assert!(batch.capacity() <= 16);
    }
}
