//! Printing of constants.

use super::{PrintError, Printer, Weights, attributes::Hex};
use crate::{
    ConstData, ConstError, ConstId, DType, Derived, ElementMap, Step,
    text::{elements, quote},
};

/// The number of elements up to which a constant is written out.
const INLINE: u64 = 16;
const CHUNK: u64 = 1 << 16;

impl Printer<'_> {
    /// `DATA : TYPE` of a pool entry.
    pub(super) fn entry(&mut self, id: ConstId) -> Result<(), PrintError> {
        self.data(id)?;
        Ok(write!(self.out, " : {}", self.pool.ty(id))?)
    }

    /// `DATA` of a pool entry.
    pub(super) fn data(&mut self, id: ConstId) -> Result<(), PrintError> {
        let pool = self.pool;
        match &pool.entry(id).data {
            ConstData::Absent { hash: Some(hash) } => write!(self.out, "blob<sha {hash:016x}>")?,
            ConstData::Absent { hash: None } => self.out.write_str("absent")?,
            ConstData::Derived(d) => self.derived(d)?,
            ConstData::Strings(list)
                if list.len() as u64 <= INLINE || self.options.weights == Weights::Full =>
            {
                self.dense(pool.ty(id).rank() == Some(0), list.len(), |i| string_text(&list[i]))?;
            }
            ConstData::Strings(_) => self.large(id)?,
            _ => self.numeric(id)?,
        }
        Ok(())
    }

    fn numeric(&mut self, id: ConstId) -> Result<(), PrintError> {
        let pool = self.pool;
        let unreadable = |source| PrintError::Constant { entry: id, source };
        let (count, dtype) = (pool.count(id), pool.dtype(id));
        // Reading slices owned bytes by what the type says.
        if let ConstData::Owned(b) = &pool.entry(id).data
            && b.len() as u64 != pool.byte_len(id)
        {
            let source = ConstError::OutOfRange(b.len() as u64..pool.byte_len(id));
            return Err(unreadable(source));
        }
        let splat = matches!(pool.entry(id).data, ConstData::Splat(_));
        if count <= INLINE || splat {
            let mut bytes = vec![0; dtype.bytes_for(count.min(CHUNK)).unwrap_or(0) as usize];
            pool.read_bytes(id, 0, &mut bytes).map_err(unreadable)?;
            let n = count.min(CHUNK) as usize;
            let all: Vec<u128> =
                (0..n).map_while(|i| elements::bits_at(dtype, &bytes, i)).collect();
            if let [first, second, ..] = all[..]
                && first == second
                && all.iter().all(|e| *e == first)
            {
                write!(self.out, "splat<{}>", elements::to_text(dtype, first))?;
            } else {
                let scalar = pool.ty(id).rank() == Some(0);
                self.dense(scalar, all.len(), |i| elements::to_text(dtype, all[i]))?;
            }
            return Ok(());
        }
        if self.options.weights != Weights::None
            && let Some(first) = self.uniform(id, dtype, count).map_err(unreadable)?
        {
            write!(self.out, "splat<{}>", elements::to_text(dtype, first))?;
            return Ok(());
        }
        self.large(id)
    }

    /// The one value that all elements have.
    fn uniform(&self, id: ConstId, dtype: DType, count: u64) -> Result<Option<u128>, ConstError> {
        let len = self.pool.byte_len(id);
        let width = u64::from(dtype.bits().div_ceil(8));
        let mut buf = vec![0; CHUNK.min(len) as usize];
        let mut first: Option<u128> = None;
        // A short first look: most tensors differ within their first elements.
        let mut n = len.min(16 * width);
        let mut at = 0;
        while at < len {
            let chunk = &mut buf[..n as usize];
            self.pool.read_bytes(id, at, chunk)?;
            let per_chunk = (n * 8 / u64::from(dtype.bits())).min(count);
            // Trailing padding of sub-byte elements is no element.
            let rest = count - at * 8 / u64::from(dtype.bits());
            for i in 0..per_chunk.min(rest) as usize {
                let bits = elements::bits_at(dtype, chunk, i);
                if *first.get_or_insert(bits.unwrap_or(0)) != bits.unwrap_or(0) {
                    return Ok(None);
                }
            }
            at += n;
            n = (len - at).min(CHUNK);
        }
        Ok(first)
    }

    /// A tensor beyond the limit of what is written out.
    fn large(&mut self, id: ConstId) -> Result<(), PrintError> {
        let unreadable = |source| PrintError::Constant { entry: id, source };
        match self.options.weights {
            Weights::None => self.out.write_str("absent")?,
            Weights::Full if self.resources.is_some() && self.pool.dtype(id) != DType::Str => {
                let resources = self.resources.get_or_insert_default();
                let (index, _) = resources.insert_full(id);
                write!(self.out, "resource<{index}>")?;
            }
            Weights::Stats => match self.stats(id) {
                Ok(text) => self.out.write_str(&text)?,
                Err(ConstError::NotNumeric(_)) => {
                    write!(
                        self.out,
                        "blob<sha {:016x}>",
                        self.pool.content_hash(id).map_err(unreadable)?
                    )?;
                }
                Err(e) => return Err(unreadable(e)),
            },
            Weights::Hash | Weights::Full => {
                write!(
                    self.out,
                    "blob<sha {:016x}>",
                    self.pool.content_hash(id).map_err(unreadable)?
                )?;
            }
        }
        Ok(())
    }

    fn stats(&self, id: ConstId) -> Result<String, ConstError> {
        let count = self.pool.count(id);
        let (mut min, mut max, mut sum, mut squares) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
        let mut block = vec![0.0; 4096];
        let mut at = 0;
        while at < count {
            let n = (count - at).min(4096);
            let block = &mut block[..n as usize];
            self.pool.read_f64(id, at, block)?;
            for &v in block.iter() {
                min = v.min(min);
                max = v.max(max);
                sum += v;
                squares += v * v;
            }
            at += n;
        }
        let figure = |v: f64| match v {
            v if v.is_nan() => "nan".to_owned(),
            f64::INFINITY => "inf".to_owned(),
            f64::NEG_INFINITY => "minus_inf".to_owned(),
            v => format!("{v:.3e}"),
        };
        Ok(format!(
            "stats<min {}, max {}, mean {}, l2 {}>",
            figure(min),
            figure(max),
            figure(sum / count.max(1) as f64),
            figure(libm::sqrt(squares))
        ))
    }

    /// The elements, rank 0 without brackets; the extents are in the type that follows.
    fn dense(
        &mut self,
        scalar: bool,
        count: usize,
        text: impl Fn(usize) -> String,
    ) -> Result<(), PrintError> {
        if scalar && count == 1 {
            return Ok(write!(self.out, "dense<{}>", text(0))?);
        }
        self.out.write_str("dense<[")?;
        for i in 0..count {
            self.out.write_str(if i > 0 { ", " } else { "" })?;
            self.out.write_str(&text(i))?;
        }
        Ok(self.out.write_str("]>")?)
    }

    fn derived(&mut self, d: &Derived) -> Result<(), PrintError> {
        self.out.write_str("derived(")?;
        self.entry(d.base())?;
        for step in d.steps() {
            self.out.write_str(", ")?;
            match step {
                Step::Scale { map, factors } => {
                    write!(self.out, "scale({}, ", map_text(map))?;
                    self.entry(*factors)?;
                    self.out.write_str(")")?;
                }
                Step::Shift { map, addends } => {
                    write!(self.out, "shift({}, ", map_text(map))?;
                    self.entry(*addends)?;
                    self.out.write_str(")")?;
                }
                Step::Scatter { positions, addends } => {
                    self.out.write_str("scatter(")?;
                    self.entry(*positions)?;
                    self.out.write_str(", ")?;
                    self.entry(*addends)?;
                    self.out.write_str(")")?;
                }
                Step::Embed { source, offset, negated } => {
                    let sign = if *negated { "negated " } else { "" };
                    write!(self.out, "embed({sign}[{}], ", list_text(offset))?;
                    self.entry(*source)?;
                    self.out.write_str(")")?;
                }
                Step::Broadcast { dims } => write!(self.out, "broadcast[{}]", list_text(dims))?,
            }
        }
        Ok(self.out.write_str(")")?)
    }

    /// The bytes of what was printed as `resource<N>`.
    pub(super) fn resources(&mut self) -> Result<(), PrintError> {
        let Some(list) = self.resources.take().filter(|l| !l.is_empty()) else { return Ok(()) };
        self.out.write_str("  resources {\n")?;
        for (i, &id) in list.iter().enumerate() {
            write!(self.out, "    {i} = \"")?;
            let len = self.pool.byte_len(id);
            let mut buf = vec![0; CHUNK.min(len) as usize];
            let mut at = 0;
            while at < len {
                let chunk = &mut buf[..(len - at).min(CHUNK) as usize];
                self.pool
                    .read_bytes(id, at, chunk)
                    .map_err(|source| PrintError::Constant { entry: id, source })?;
                write!(self.out, "{}", Hex(chunk))?;
                at += chunk.len() as u64;
            }
            self.out.write_str("\"\n")?;
        }
        Ok(self.out.write_str("  }\n")?)
    }
}

fn list_text(list: &[u64]) -> String {
    list.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn string_text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(s) => quote(s),
        Err(_) => format!("bytes<\"{}\">", Hex(bytes)),
    }
}

/// `map[stride:size/div*mul, …]`, a divisor and a factor of 1 left out.
fn map_text(map: &ElementMap) -> String {
    let terms: Vec<String> = map
        .terms()
        .iter()
        .map(|t| {
            let mut text = format!("{}:{}", t.stride, t.size);
            if t.div != 1 {
                text += &format!("/{}", t.div);
            }
            if t.mul != 1 {
                text += &format!("*{}", t.mul);
            }
            text
        })
        .collect();
    format!("map[{}]", terms.join(", "))
}
