//! Deterministic randomness: the same seed makes the same mutations everywhere.

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if there is none.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.bits() % n as u64) as usize }
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these; `None` if there are none.
    pub fn of<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        list.get(self.below(list.len()))
    }

    /// Mostly small, sometimes at the edge of some type.
    pub fn int(&mut self) -> i64 {
        const EDGES: [i64; 14] = [
            i64::MIN,
            i64::MAX,
            i64::MIN + 1,
            1 << 62,
            1 << 60,
            1 << 40,
            1 << 32,
            (1 << 32) - 1,
            1 << 31,
            (1 << 31) - 1,
            -(1 << 31),
            1 << 20,
            255,
            -7,
        ];
        if self.once_in(8) { EDGES[self.below(EDGES.len())] } else { self.below(7) as i64 - 2 }
    }

    /// Mostly tame, sometimes special.
    pub fn float(&mut self) -> f32 {
        const SPECIAL: [f32; 10] = [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE,
            1e-45,
            -0.0,
            0.0,
            1e-5,
            -1e30,
        ];
        if self.once_in(4) {
            SPECIAL[self.below(SPECIAL.len())]
        } else {
            (self.below(33) as f32 - 16.0) / 8.0
        }
    }
}
