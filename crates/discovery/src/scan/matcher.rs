//! Finding marked values in a text: one pass over its windows, then an HMAC where the bits agree.

use std::ops::Range;

use hmac::Hmac;
use sha2::Sha256;

use super::decode::{self, Encoding, Room};
use super::marks::{Mark, Marks, VALUE_MIN_BYTES, WINDOW_BYTES, WindowKey, proof, spread};

/// Bits of the first filter: 128 KiB, so that it stays in a core's own cache.
const FILTER_BITS: u32 = 20;
const FILTER_WORDS: usize = 1 << (FILTER_BITS - 6);
/// The fewest and the most bits by which marks are put in order. About four times as many buckets as marks are best.
const BUCKET_BITS_MIN: u32 = 12;
const BUCKET_BITS_MAX: u32 = 16;
/// How many windows are asked about at once, and the bytes that they stand in.
const TOGETHER: usize = 8;
const PART_BYTES: usize = TOGETHER + WINDOW_BYTES - 1;

/// Marks, prepared for looking.
pub(super) struct Matcher {
    marks: Vec<Mark>,
    /// The tag of each mark, close together.
    tags: Vec<u32>,
    mac: Hmac<Sha256>,
    window_key: WindowKey,
    bits: u32,
    filter: Box<[u64; FILTER_WORDS]>,
    bucket_bits: u32,
    /// Where each bucket begins in `marks`; one more than there are buckets.
    buckets: Vec<u32>,
    shortest: usize,
    longest: usize,
}

/// A marked value in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    /// Which mark.
    pub mark: usize,
    /// Where it begins.
    pub start: usize,
    /// In which encodings, innermost first.
    pub encodings: Vec<Encoding>,
}

impl Matcher {
    pub(super) fn new(marks: Marks) -> Self {
        let Marks {
            key,
            bits,
            mut marks,
        } = marks;
        marks.sort_by_key(|mark| mark.tag);
        let mut filter = Box::new([0u64; FILTER_WORDS]);
        let bucket_bits = (bits - 6).clamp(BUCKET_BITS_MIN, BUCKET_BITS_MAX);
        let mut buckets = vec![0u32; (1 << bucket_bits) + 1];
        for mark in &marks {
            // A mark of fewer bits than the filter has takes every place that begins with them.
            let places = match FILTER_BITS.checked_sub(bits) {
                Some(wider) => mark.tag << wider..(mark.tag + 1) << wider,
                None => mark.tag >> (bits - FILTER_BITS)..(mark.tag >> (bits - FILTER_BITS)) + 1,
            };
            places.for_each(|place| filter[(place >> 6) as usize] |= 1 << (place & 63));
            buckets[(mark.tag >> (bits - bucket_bits)) as usize + 1] += 1;
        }
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        Self {
            mac: key.mac(),
            window_key: key.window_key(),
            shortest: marks
                .iter()
                .map(|mark| mark.length)
                .min()
                .unwrap_or(VALUE_MIN_BYTES),
            longest: marks.iter().map(|mark| mark.length).max().unwrap_or(0),
            tags: marks.iter().map(|mark| mark.tag).collect(),
            marks,
            bits,
            filter,
            bucket_bits,
            buckets,
        }
    }

    /// The longest value, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn label(&self, mark: usize) -> &str {
        &self.marks[mark].label
    }

    pub(super) fn length(&self, mark: usize) -> usize {
        self.marks[mark].length
    }

    /// Every marked value in a text, as it is and in as many encodings within one another as there are rooms.
    pub(super) fn look(&self, text: &[u8], rooms: &mut [Room], sightings: &mut Vec<Sighting>) {
        if self.marks.is_empty() || text.len() < self.shortest {
            return;
        }
        self.search(text, sightings);
        let [room, deeper @ ..] = rooms else {
            return;
        };
        decode::pieces(text, self.shortest, room, &mut |piece| {
            let mut within = Vec::new();
            self.look(piece.bytes, deeper, &mut within);
            sightings.extend(within.into_iter().map(|mut sighting| {
                sighting.start = piece.origin(text, sighting.start);
                sighting.encodings.push(piece.encoding);
                sighting
            }));
        });
    }

    /// Every marked value in a text as it is. Nearly every window is passed over, so several are asked about at once.
    fn search(&self, text: &[u8], sightings: &mut Vec<Sighting>) {
        let mut at = 0;
        while let Some(part) = text[at..].first_chunk::<PART_BYTES>() {
            let mut any = 0;
            for window in part.windows(WINDOW_BYTES) {
                any |= self.filtered(spread(self.window_key, number(window)));
            }
            if any & 1 == 1 {
                self.confirm_each(text, at..at + TOGETHER, sightings);
            }
            at += TOGETHER;
        }
        let places = (text.len() + 1).saturating_sub(WINDOW_BYTES);
        self.confirm_each(text, at..places, sightings);
    }

    /// What the filter says of a window's hash, in the lowest bit.
    fn filtered(&self, spread: u64) -> u64 {
        let word = self.filter[(spread >> (64 - FILTER_BITS + 6)) as usize];
        word >> (spread >> (64 - FILTER_BITS) & 63)
    }

    /// Confirms the windows at a few places that the filter lets through.
    #[cold]
    fn confirm_each(&self, text: &[u8], places: Range<usize>, sightings: &mut Vec<Sighting>) {
        let hash = |at: usize| spread(self.window_key, number(&text[at..at + WINDOW_BYTES]));
        let mut passed = 0u64;
        for (nth, at) in places.clone().enumerate() {
            passed |= (self.filtered(hash(at)) & 1) << nth;
        }
        while passed != 0 {
            let at = places.start + passed.trailing_zeros() as usize;
            passed &= passed - 1;
            self.confirm(text, at, hash(at), sightings);
        }
    }

    /// The window at `at` may be a marked value's; the HMAC tells.
    fn confirm(&self, text: &[u8], at: usize, spread: u64, sightings: &mut Vec<Sighting>) {
        let tag = (spread >> (64 - self.bits)) as u32;
        let bucket = (spread >> (64 - self.bucket_bits)) as usize;
        for index in self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize {
            if self.tags[index] != tag {
                continue;
            }
            let mark = &self.marks[index];
            let Some(start) = at.checked_sub(mark.offset) else {
                continue;
            };
            let Some(value) = text.get(start..start + mark.length) else {
                continue;
            };
            // A value that repeats itself is reported once for each whole copy.
            let mut last = sightings.iter().rev().take(4);
            if last.any(|last| {
                last.mark == index && last.encodings.is_empty() && start < last.start + mark.length
            }) {
                continue;
            }
            if proof(self.mac.clone(), &mark.label, value) == mark.proof {
                sightings.push(Sighting {
                    mark: index,
                    start,
                    encodings: Vec::new(),
                });
            }
        }
    }
}

/// A window as the number that is hashed.
fn number(window: &[u8]) -> u64 {
    window
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
