//! The texts of events. They are drawn from pools that are made once, by the original's rules of
//! alphabet and length, so that an event is made, sent and dropped without touching the allocator.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::{LazyLock, Mutex};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::draws::{Draws, below};

/// A text that lives as long as the process. In checkpoints it is what it says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(&'static &'static str);

impl Text {
    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.0
    }
}

/// By its length and its first and last eight bytes: enough to tell the texts of a pool apart, and
/// cheap beside what is measured.
impl Hash for Text {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_str(self.0, state);
    }
}

/// As [`Text`] is hashed.
#[inline]
pub(super) fn hash_str<H: Hasher>(text: &str, state: &mut H) {
    let bytes = text.as_bytes();
    state.write_u64(bytes.len() as u64);
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            state.write_u64(u64::from_le_bytes(*first));
            state.write_u64(u64::from_le_bytes(*last));
        }
        _ => state.write_u64(bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))),
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        Ok(interned(String::deserialize(deserializer)?))
    }
}

/// The text of a pool that says this, or a new one that is kept.
fn interned(text: String) -> Text {
    static KNOWN: LazyLock<Mutex<HashMap<&'static str, Text>>> = LazyLock::new(|| {
        let known = POOLS.all().map(|text| (text.as_str(), text)).collect();
        Mutex::new(known)
    });
    let mut known = KNOWN.lock().expect("nothing panics while it is held");
    if let Some(text) = known.get(text.as_str()) {
        return *text;
    }
    let kept: &'static str = Box::leak(text.into_boxed_str());
    let text = Text(Box::leak(Box::new(kept)));
    known.insert(kept, text);
    text
}

/// Texts of one kind.
type Pool = &'static [&'static str];

/// What texts are drawn from.
pub(super) struct Pools {
    pub(super) names: Pool,
    pub(super) email_addresses: Pool,
    pub(super) credit_cards: Pool,
    pub(super) cities: Pool,
    pub(super) states: Pool,
    pub(super) item_names: Pool,
    pub(super) descriptions: Pool,
    pub(super) channels: Pool,
    /// The address that goes with each channel.
    pub(super) urls: Pool,
    pub(super) person_extras: Pool,
    pub(super) auction_extras: Pool,
    pub(super) bid_extras: Pool,
}

/// Channels that half of the bids come through; they are the last ones of the pool.
pub(super) const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// Channels of the other half.
pub(super) const CHANNELS: usize = 10_000;

const FIRST_NAMES: &str = "Peter,Paul,Luke,John,Saul,Vicky,Kate,Julie,Sarah,Deiter,Walter";
const LAST_NAMES: &str = "Shultz,Abrams,Spencer,White,Bartels,Walton,Smith,Jones,Noris";
const CITIES: &str =
    "Phoenix,Los Angeles,San Francisco,Boise,Portland,Bend,Redmond,Seattle,Kent,Cheyenne";
const STATES: &str = "AZ,CA,ID,OR,WA,WY";

/// The pools, made when they are first asked for.
pub(super) static POOLS: LazyLock<Pools> = LazyLock::new(Pools::new);

impl Pools {
    fn new() -> Pools {
        let mut draws = Draws::new(0x6e65_786d_6172_6b00);
        let names = FIRST_NAMES
            .split(',')
            .flat_map(|first| LAST_NAMES.split(',').map(move |last| format!("{first} {last}")));
        let urls: Vec<String> = (0..CHANNELS + HOT_CHANNELS.len())
            .map(|channel| url(&mut draws, (channel < CHANNELS).then_some(channel as u32)))
            .collect();
        let channels = (0..CHANNELS).map(|channel| format!("channel-{channel}"));
        Pools {
            names: pool(names),
            email_addresses: pool(
                (0..4096).map(|_| {
                    format!("{}@{}.com", word(&mut draws, 7, ' '), word(&mut draws, 5, ' '))
                }),
            ),
            credit_cards: pool((0..4096).map(|_| {
                let fours: Vec<_> = (0..4).map(|_| format!("{:04}", draws.below(10_000))).collect();
                fours.join(" ")
            })),
            cities: pool(CITIES.split(',').map(String::from)),
            states: pool(STATES.split(',').map(String::from)),
            item_names: pool((0..1024).map(|_| word(&mut draws, 20, ' '))),
            descriptions: pool((0..1024).map(|_| word(&mut draws, 100, ' '))),
            channels: pool(channels.chain(HOT_CHANNELS.map(String::from))),
            urls: pool(urls.into_iter()),
            person_extras: pool((0..1024).map(|_| extra(&mut draws, 138))),
            auction_extras: pool((0..1024).map(|_| extra(&mut draws, 390))),
            bid_extras: pool((0..8192).map(|_| extra(&mut draws, 68))),
        }
    }

    fn all(&self) -> impl Iterator<Item = Text> {
        let people =
            [self.names, self.email_addresses, self.credit_cards, self.cities, self.states];
        let others = [self.item_names, self.descriptions, self.channels, self.urls];
        let extras = [self.person_extras, self.auction_extras, self.bid_extras];
        people.into_iter().chain(others).chain(extras).flatten().map(Text)
    }
}

fn pool(texts: impl Iterator<Item = String>) -> Pool {
    let texts: Vec<&'static str> = texts.map(|text| &*Box::leak(text.into_boxed_str())).collect();
    Box::leak(texts.into_boxed_slice())
}

/// The text of a pool that 32 random bits choose.
#[inline]
pub(super) fn pick(pool: Pool, random: u32) -> Text {
    at(pool, below(random, pool.len() as u64) as usize)
}

#[inline]
pub(super) fn at(pool: Pool, index: usize) -> Text {
    Text(&pool[index])
}

/// Three letters or more, fewer than `length_max`; one in 13 is `special`.
fn word(draws: &mut Draws, length_max: u32, special: char) -> String {
    let length = 3 + draws.below(length_max - 3);
    let letters = (0..length).map(|_| match draws.below(13) {
        0 => special,
        _ => (b'a' + draws.below(26) as u8) as char,
    });
    letters.collect::<String>().trim().to_owned()
}

/// Letters, `average` of them, a fifth more or less.
fn extra(draws: &mut Draws, average: u32) -> String {
    let delta = (f64::from(average) * 0.2).round() as u32;
    let length = u64::from(average - delta) + draws.below(2 * delta);
    (0..length).map(|_| (b'a' + draws.below(26) as u8) as char).collect()
}

/// An address in three folders; nine in ten of those that are not of a hot channel tell its number.
fn url(draws: &mut Draws, channel: Option<u32>) -> String {
    let folders: Vec<_> = (0..3).map(|_| word(draws, 5, '_')).collect();
    let base = format!("https://www.nexmark.com/{}/item.htm?query=1", folders.join("/"));
    match channel {
        Some(channel) if draws.below(10) > 0 => {
            let id = channel.reverse_bits().cast_signed().wrapping_abs();
            format!("{base}&channel_id={id}")
        }
        _ => base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_back_is_the_text_of_the_pool() {
        let text = at(POOLS.bid_extras, 17);
        let read: Text = serde_json::from_str(&serde_json::to_string(&text).unwrap()).unwrap();
        assert!(std::ptr::eq(read.0, text.0));
        let other: Text = serde_json::from_str("\"no text of a pool\"").unwrap();
        assert_eq!(other.as_str(), "no text of a pool");
    }

    #[test]
    fn texts_are_as_long_as_those_of_the_original() {
        let lengths = |pool: Pool| {
            let lengths = pool.iter().map(|text| text.len());
            (lengths.clone().min().unwrap(), lengths.max().unwrap())
        };
        assert_eq!(lengths(POOLS.bid_extras), (54, 81));
        assert_eq!(lengths(POOLS.auction_extras), (312, 467));
        assert_eq!(lengths(POOLS.names), (10, 14));
        assert!(lengths(POOLS.item_names).1 <= 19);
        assert_eq!(POOLS.channels.len(), POOLS.urls.len());
    }
}
