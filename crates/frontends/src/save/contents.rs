//! Many contents kept together: a hundred thousand short ones take the room of their segments and bytes, and nothing else.

use super::{ChunkProducer, Content, Segment};

/// Contents by number, each of which is taken once.
#[derive(Default, Debug)]
pub(crate) struct Contents<'a> {
    /// Of all, one behind the other; positions of owned bytes and of producers are those below.
    segments: Vec<Segment>,
    /// The end of each among the segments.
    ends: Vec<u32>,
    owned: Vec<u8>,
    produced: Vec<Option<Box<dyn ChunkProducer + 'a>>>,
}

impl<'a> Contents<'a> {
    /// Keeps a content without seals; gives its number.
    pub(crate) fn push(&mut self, content: Content<'a>) -> u32 {
        debug_assert!(content.seals.is_empty());
        let (owned, produced) = (self.owned.len(), self.produced.len() as u32);
        self.segments.extend(content.segments.into_iter().map(|s| match s {
            Segment::Owned { start, len } => Segment::Owned { start: start + owned, len },
            Segment::Produced { index, len } => Segment::Produced { index: index + produced, len },
            source => source,
        }));
        self.owned.extend_from_slice(&content.owned);
        self.produced.extend(content.produced.into_iter().map(Some));
        self.ends.push(self.segments.len() as u32);
        self.ends.len() as u32 - 1
    }

    /// The content of that number; without its computed tensors when it was taken before.
    pub(crate) fn take(&mut self, number: u32) -> Content<'a> {
        let number = number as usize;
        let first = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut out = Content::new();
        for segment in &self.segments[first as usize..self.ends[number] as usize] {
            match *segment {
                Segment::Source { source, start, len } => out.source(source, start..start + len),
                Segment::Owned { start, len } => {
                    out.bytes(&self.owned[start..start + len as usize])
                }
                Segment::Produced { index, .. } => {
                    self.produced[index as usize].take().into_iter().for_each(|p| out.produced(p));
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bytes::Source, save::WriteOptions};
    use std::io;

    #[derive(Debug)]
    struct Same(u8, u64);

    impl ChunkProducer for Same {
        fn len(&self) -> u64 {
            self.1
        }

        fn produce(&self, _: u64, buf: &mut [u8]) -> io::Result<()> {
            buf.fill(self.0);
            Ok(())
        }
    }

    /// Some bytes, part of a source, and a computed tensor, in an order that follows from `n`.
    fn content<'a>(n: u8) -> Content<'a> {
        let mut out = Content::new();
        for k in 0..n % 5 {
            match (n + k) % 3 {
                0 => out.bytes(&[n, k, 7]),
                1 => out.source(0, u64::from(n)..u64::from(n + k)),
                _ => out.produced(Box::new(Same(n ^ k, u64::from(k)))),
            }
        }
        out
    }

    fn written(content: &Content<'_>) -> Vec<u8> {
        let source = Source::Memory((0..=255).collect());
        let mut out = Vec::new();
        content.write_to(&[source], &mut out, WriteOptions::default()).unwrap();
        out
    }

    #[test]
    fn what_is_taken_is_what_was_kept() {
        let mut all = Contents::default();
        let numbers: Vec<u32> = (0..40).map(|n| all.push(content(n))).collect();
        // In another order than they came in.
        for &number in numbers.iter().rev() {
            let (wanted, found) = (content(number as u8), all.take(number));
            assert_eq!(found.len(), wanted.len());
            assert_eq!(written(&found), written(&wanted), "{number}");
        }
    }
}
