//! Which constants are equal, byte for byte.

use normfold_ir::{Binding, ConstError, ConstId, ConstPool, DType, Graph, OpId, OpKind};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Bytes that are looked at of every constant, at its begin, middle and end each; a multiple of every element size.
const SAMPLE: u64 = 1 << 10;

/// Constants by content.
#[derive(Debug, Default)]
pub(super) struct Contents {
    classes: HashMap<OpId, ConstId>,
}

/// Constants of one type that agree in a sample.
#[derive(Default)]
struct Alike {
    /// One of each content, and its hash as soon as there was anything to compare it with.
    distinct: Vec<(ConstId, Option<u64>)>,
}

impl Contents {
    /// Of every constant of the graph. All bytes are read, at most twice, of those that agree with another one in a sample.
    pub(super) fn of(g: &Graph, pool: &ConstPool, order: &[OpId]) -> Self {
        let mut entries: HashMap<ConstId, ConstId> = HashMap::new();
        let mut alike: HashMap<(DType, Vec<u64>, u64), Alike> = HashMap::new();
        let mut classes = HashMap::new();
        for &op in order {
            let OpKind::Constant(c) = g.kind(op) else { continue };
            if c.binding != Binding::Fixed {
                continue;
            }
            let class = *entries.entry(c.entry).or_insert_with(|| {
                // What cannot be read equals itself.
                let Ok(sample) = sample(pool, c.entry) else { return c.entry };
                let key = (pool.dtype(c.entry), pool.dims(c.entry), sample);
                alike.entry(key).or_default().class(pool, c.entry)
            });
            classes.insert(op, class);
        }
        Self { classes }
    }

    /// The same for equal constants: the first of them. `None` of what is no constant for good.
    pub(super) fn class(&self, op: OpId) -> Option<ConstId> {
        self.classes.get(&op).copied()
    }
}

impl Alike {
    fn class(&mut self, pool: &ConstPool, entry: ConstId) -> ConstId {
        let mut hash = None;
        if !self.distinct.is_empty() {
            hash = pool.content_hash(entry).ok();
            for (other, known) in &mut self.distinct {
                if known.is_none() {
                    *known = pool.content_hash(*other).ok();
                }
                if hash.is_some() && *known == hash && same_bytes(pool, entry, *other) {
                    return *other;
                }
            }
        }
        self.distinct.push((entry, hash));
        entry
    }
}

/// A hash of some bytes.
fn sample(pool: &ConstPool, entry: ConstId) -> Result<u64, ConstError> {
    let len = pool.byte_len(entry);
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; SAMPLE as usize];
    let middle = (len / 2).next_multiple_of(SAMPLE);
    let last = len.saturating_sub(1) / SAMPLE * SAMPLE;
    for start in [0, middle, last] {
        let n = len.saturating_sub(start).min(SAMPLE) as usize;
        pool.read_bytes(entry, start.min(len), &mut buffer[..n])?;
        buffer[..n].hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn same_bytes(pool: &ConstPool, a: ConstId, b: ConstId) -> bool {
    compare_bytes(pool, a, b).unwrap_or(false)
}

fn compare_bytes(pool: &ConstPool, a: ConstId, b: ConstId) -> Result<bool, ConstError> {
    const BLOCK: u64 = 1 << 16;
    let len = pool.byte_len(a);
    if len != pool.byte_len(b) {
        return Ok(false);
    }
    let (mut x, mut y) = (vec![0; BLOCK as usize], vec![0; BLOCK as usize]);
    let mut at = 0;
    while at < len {
        let n = (len - at).min(BLOCK) as usize;
        pool.read_bytes(a, at, &mut x[..n])?;
        pool.read_bytes(b, at, &mut y[..n])?;
        if x[..n] != y[..n] {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use normfold_ir::{Constant, GraphRole, OpSpec, TensorType};

    /// Which of constants with these f32 elements are equal to which.
    fn classes(all: &[Vec<f64>]) -> Vec<usize> {
        let (mut g, mut pool) = (Graph::new("g", GraphRole::Main), ConstPool::default());
        let ops: Vec<OpId> = all
            .iter()
            .map(|v| {
                let n = v.len() as u64;
                let entry = pool.add_f64(DType::F32, &[n], v);
                let ty = TensorType::of(DType::F32, &[n]);
                g.create(OpSpec::new(Constant::new(entry)).result(ty))
            })
            .collect();
        let contents = Contents::of(&g, &pool, &ops);
        let class = |&op| contents.class(op);
        ops.iter().map(|op| ops.iter().position(|o| class(o) == class(op)).unwrap_or(99)).collect()
    }

    #[test]
    fn every_byte_counts() {
        let zeros = vec![0.0; 100_000];
        let with = |i: usize, x: f64| {
            let mut v = zeros.clone();
            v[i] = x;
            v
        };
        let all = [
            zeros.clone(),
            with(70_001, 1.0),
            zeros.clone(),
            with(70_001, 1.0),
            with(99_999, 1.0),
            with(3, -0.0),
            vec![0.0; 99_999],
        ];
        assert_eq!(classes(&all), [0, 1, 0, 1, 4, 5, 6]);
        assert_eq!(classes(&[vec![], vec![], vec![1.0], vec![1.0], vec![-1.0]]), [0, 0, 2, 2, 4]);
    }
}
