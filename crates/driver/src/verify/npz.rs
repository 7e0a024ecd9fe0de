//! Reads the arrays of an `.npz` file, as `numpy.savez` writes it: a zip archive whose members are stored.

use normfold_ir::{DType, Tensor};
use std::{fs, path::Path};

/// Members beyond this are taken for a mistake.
const MAX_MEMBERS: usize = 4096;
/// What a zip archive says of a size that is elsewhere.
const ELSEWHERE: u32 = u32::MAX;

/// The arrays by name, in the order of the archive, or what is wrong with the file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Tensor)>, String> {
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    let mut arrays: Vec<(String, Tensor)> = Vec::new();
    for Member { name, data } in members(&bytes)? {
        let name = name.strip_suffix(".npy").unwrap_or(&name).to_owned();
        if arrays.iter().any(|(n, _)| *n == name) {
            return Err(format!("two arrays are called `{name}`"));
        }
        let array = array(data).map_err(|why| format!("array `{name}`: {why}"))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

struct Member<'a> {
    name: String,
    data: &'a [u8],
}

/// Little-endian numbers at offsets that may lie outside.
trait At {
    fn span(&self, at: usize, len: usize) -> Result<&[u8], String>;

    fn u16(&self, at: usize) -> Result<u16, String> {
        Ok(u16::from_le_bytes(self.span(at, 2)?.try_into().unwrap_or_default()))
    }

    fn u32(&self, at: usize) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.span(at, 4)?.try_into().unwrap_or_default()))
    }

    fn u64(&self, at: usize) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.span(at, 8)?.try_into().unwrap_or_default()))
    }
}

impl At for [u8] {
    fn span(&self, at: usize, len: usize) -> Result<&[u8], String> {
        let end = at.checked_add(len);
        end.and_then(|end| self.get(at..end)).ok_or_else(|| "the file is cut short".to_owned())
    }
}

/// The members by the central directory (APPNOTE 4.3.12); the local headers say only where the data begins.
fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, String> {
    if !bytes.starts_with(b"PK") {
        return Err("it is no .npz archive".to_owned());
    }
    // The end record is 22 bytes and a comment of at most 64 KiB.
    let first = bytes.len().saturating_sub(22 + 0xffff);
    let tail = bytes.get(first..).unwrap_or_default();
    let end =
        tail.windows(4).rposition(|w| w == b"PK\x05\x06").ok_or("the archive has no end record")?;
    let end = first + end;
    let (count, mut at) = (usize::from(bytes.u16(end + 10)?), bytes.u32(end + 16)?);
    if count > MAX_MEMBERS || at == ELSEWHERE {
        return Err("the archive is too large".to_owned());
    }
    let mut members = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = at as usize;
        if bytes.span(entry, 4)? != b"PK\x01\x02" {
            return Err("the directory of the archive is damaged".to_owned());
        }
        let (name_len, extra_len, comment_len) =
            (bytes.u16(entry + 28)?, bytes.u16(entry + 30)?, bytes.u16(entry + 32)?);
        let name = bytes.span(entry + 46, usize::from(name_len))?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| "a name is not UTF-8")?;
        if bytes.u16(entry + 10)? != 0 {
            return Err(format!("`{name}` is compressed: write the file with numpy.savez"));
        }
        let extra = bytes.span(entry + 46 + usize::from(name_len), usize::from(extra_len))?;
        let size = match bytes.u32(entry + 24)? {
            ELSEWHERE => zip64_size(extra)?,
            size => u64::from(size),
        };
        let local = bytes.u32(entry + 42)?;
        if local == ELSEWHERE {
            return Err("the archive is too large".to_owned());
        }
        let local = local as usize;
        let skip = usize::from(bytes.u16(local + 26)?) + usize::from(bytes.u16(local + 28)?);
        let size = usize::try_from(size).map_err(|_| "the archive is too large")?;
        members.push(Member { name, data: bytes.span(local + 30 + skip, size)? });
        let next = 46 + usize::from(name_len) + usize::from(extra_len) + usize::from(comment_len);
        at = u32::try_from(entry + next).map_err(|_| "the archive is too large")?;
    }
    Ok(members)
}

/// The uncompressed size, the first number of the ZIP64 field (APPNOTE 4.5.3).
fn zip64_size(extra: &[u8]) -> Result<u64, String> {
    let mut at = 0;
    while at < extra.len() {
        let (id, len) = (extra.u16(at)?, usize::from(extra.u16(at + 2)?));
        if id == 1 {
            return extra.u64(at + 4);
        }
        at += 4 + len;
    }
    Err("the directory of the archive is damaged".to_owned())
}

/// One array (NEP 1): a Python dictionary as text, then the elements.
fn array(bytes: &[u8]) -> Result<Tensor, String> {
    if !bytes.starts_with(b"\x93NUMPY") {
        return Err("it is no .npy array".to_owned());
    }
    let (len, start) = match bytes.span(6, 1)? {
        [1] => (usize::from(bytes.u16(8)?), 10),
        _ => (bytes.u32(8)? as usize, 12),
    };
    let header =
        std::str::from_utf8(bytes.span(start, len)?).map_err(|_| "its header is no text")?;
    let value = |key: &str| {
        let at =
            header.find(&format!("'{key}':")).ok_or_else(|| format!("its header has no {key}"))?;
        Ok::<&str, String>(header[at + key.len() + 3..].trim_start())
    };
    if value("fortran_order")?.starts_with("True") {
        return Err("it is in Fortran order: write numpy.ascontiguousarray of it".to_owned());
    }
    let shape = value("shape")?.strip_prefix('(').and_then(|s| s.split(')').next());
    let shape = shape.ok_or("its header has no shape")?;
    let extents = shape.split(',').map(str::trim).filter(|s| !s.is_empty());
    let dims: Vec<u64> = extents
        .map(|s| s.trim_end_matches('L').parse().map_err(|_| format!("extent `{s}`")))
        .collect::<Result<_, String>>()?;
    let descr = value("descr")?.strip_prefix('\'').and_then(|s| s.split('\'').next());
    let dtype = element_type(descr.unwrap_or_default())?;
    let n = dims.iter().try_fold(1, |n: u64, &d| n.checked_mul(d)).ok_or("it is too large")?;
    let needed =
        dtype.bytes_for(n).and_then(|b| usize::try_from(b).ok()).ok_or("it is too large")?;
    elements(dtype, &dims, bytes.span(start + len, needed)?)
}

fn element_type(descr: &str) -> Result<DType, String> {
    Ok(match descr {
        "<f8" => DType::F64,
        "<f4" => DType::F32,
        "<f2" => DType::F16,
        "<i8" => DType::I64,
        "<i4" => DType::I32,
        "<i2" => DType::I16,
        "|i1" => DType::I8,
        "<u8" => DType::U64,
        "<u4" => DType::U32,
        "<u2" => DType::U16,
        "|u1" => DType::U8,
        "|b1" => DType::Bool,
        other => return Err(format!("elements of type `{other}` are not read")),
    })
}

fn elements(dtype: DType, dims: &[u64], bytes: &[u8]) -> Result<Tensor, String> {
    macro_rules! each {
        ($t:ty) => {{
            let (chunks, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            chunks.iter().map(|&c| <$t>::from_le_bytes(c))
        }};
    }
    let ints = |values: Vec<i64>| Ok(Tensor::ints(dtype, dims, values));
    let floats = |values: Vec<f64>| Ok(Tensor::floats(dtype, dims, values));
    match dtype {
        DType::F64 => floats(each!(f64).collect()),
        DType::F32 => floats(each!(f32).map(f64::from).collect()),
        DType::F16 => floats(each!(u16).map(|bits| half::f16::from_bits(bits).to_f64()).collect()),
        DType::I64 => ints(each!(i64).collect()),
        DType::I32 => ints(each!(i32).map(i64::from).collect()),
        DType::I16 => ints(each!(i16).map(i64::from).collect()),
        DType::I8 => ints(each!(i8).map(i64::from).collect()),
        DType::U64 => {
            let values: Result<Vec<i64>, _> = each!(u64).map(i64::try_from).collect();
            ints(values.map_err(|_| "an element is too large")?)
        }
        DType::U32 => ints(each!(u32).map(i64::from).collect()),
        DType::U16 => ints(each!(u16).map(i64::from).collect()),
        DType::U8 => ints(bytes.iter().map(|&b| i64::from(b)).collect()),
        DType::Bool => ints(bytes.iter().map(|&b| i64::from(b != 0)).collect()),
        other => Err(format!("elements of type {other} are not read")),
    }
}

#[cfg(test)]
mod tests {
    use super::{array, members};
    use normfold_ir::DType;

    fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn arrays_of_every_kind() -> Result<(), String> {
        let t = array(&npy("<f4", "False", "(2,)", &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]))?;
        assert_eq!((t.dtype(), t.dims(), t.to_f64s()), (DType::F32, &[2][..], vec![1.0, -2.0]));
        let t = array(&npy("<f2", "False", "()", &[0, 0x3c]))?;
        assert_eq!((t.dims().len(), t.to_f64s()), (0, vec![1.0]));
        let t = array(&npy("|b1", "False", "(1, 3)", &[0, 1, 1]))?;
        assert_eq!((t.dtype(), t.dims(), t.to_i64s()), (DType::Bool, &[1, 3][..], vec![0, 1, 1]));
        let t = array(&npy("<i8", "False", "(1,)", &(-5_i64).to_le_bytes()))?;
        assert_eq!(t.to_i64s(), [-5]);
        Ok(())
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let says = |bytes: &[u8]| array(bytes).err().unwrap_or_default();
        assert_eq!(says(b"PK"), "it is no .npy array");
        assert_eq!(says(b"\x93NUMPY\x01\x00\xff\xff"), "the file is cut short");
        assert_eq!(says(&npy("<f4", "False", "(2,)", &[0; 7])), "the file is cut short");
        assert!(says(&npy("<f4", "True", "(1,)", &[0; 4])).contains("Fortran"));
        assert!(says(&npy(">f4", "False", "(1,)", &[0; 4])).contains(">f4"));
        assert!(
            says(&npy("<f4", "False", "(99999999999, 99999999999)", &[])).contains("too large")
        );
        assert!(says(&npy("<f4", "False", "(-1,)", &[])).contains("-1"));
        let no = |bytes: &[u8]| members(bytes).err().unwrap_or_default();
        assert_eq!(no(b"\x93NUMPY"), "it is no .npz archive");
        assert_eq!(no(b"PK\x03\x04"), "the archive has no end record");
        let end =
            [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(members(&end).is_err());
    }
}
