//! The central directory, the local headers, and the records at the end.

use super::{MAX_RATIO, Member, Method, invalid, place};
use crate::FrontendError;
use std::ops::Range;

/// Signatures of local headers (4.3.7), central records (4.3.12), the end (4.3.16) and those of zip64 (4.3.14, 4.3.15).
pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;
/// What comes before the name in a local header and in a central record, and before the comment in the end.
pub(super) const LOCAL_FIXED: u64 = 30;
pub(super) const CENTRAL_FIXED: u64 = 46;
pub(super) const END_FIXED: u64 = 22;
/// The zip64 records without anything of somebody else.
pub(super) const END64_FIXED: u64 = 56;
pub(super) const LOCATOR64_LEN: u64 = 20;
/// The extra field that holds what does not fit into 32 bits (4.5.3).
pub(super) const ZIP64: u16 = 1;
/// What a 32-bit field says when the value is elsewhere.
pub(super) const ELSEWHERE: u32 = u32::MAX;
/// The sizes and the checksum come after the data (4.4.4).
pub(super) const DESCRIPTOR: u16 = 1 << 3;
/// What a descriptor may begin with (4.3.9.3).
const SIGNED: u32 = 0x0807_4b50;
/// Encrypted, strongly encrypted, headers hidden.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;

/// Little-endian numbers at places that may lie outside.
pub(super) trait Fields {
    fn u16(&self, at: u64) -> Option<u16>;
    fn u32(&self, at: u64) -> Option<u32>;
    fn u64(&self, at: u64) -> Option<u64>;
    fn span(&self, at: u64, len: u64) -> Option<&[u8]>;
}

impl Fields for [u8] {
    fn u16(&self, at: u64) -> Option<u16> {
        Some(u16::from_le_bytes(self.span(at, 2)?.try_into().ok()?))
    }

    fn u32(&self, at: u64) -> Option<u32> {
        Some(u32::from_le_bytes(self.span(at, 4)?.try_into().ok()?))
    }

    fn u64(&self, at: u64) -> Option<u64> {
        Some(u64::from_le_bytes(self.span(at, 8)?.try_into().ok()?))
    }

    fn span(&self, at: u64, len: u64) -> Option<&[u8]> {
        let end = usize::try_from(at.checked_add(len)?).ok()?;
        self.get(usize::try_from(at).ok()?..end)
    }
}

fn malformed(offset: u64, problem: impl Into<String>) -> FrontendError {
    FrontendError::Malformed {
        format: "zip archive",
        place: String::new(),
        offset,
        problem: problem.into(),
    }
}

/// The records behind the central directory.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// Where the end record begins.
    pub(super) at: u64,
    /// Where the zip64 record and its locator begin.
    pub(super) zip64: Option<(u64, u64)>,
    /// How many members there are.
    pub(super) entries: u64,
    pub(super) directory: Range<u64>,
}

impl End {
    /// Finds the end record: the last place from which its comment reaches exactly to the end of the file.
    pub(super) fn find(bytes: &[u8]) -> Result<Self, FrontendError> {
        let len = bytes.len() as u64;
        let missing = || malformed(len, "there is no end record: no zip archive, or cut short");
        let last = len.checked_sub(END_FIXED).ok_or_else(missing)?;
        let at = (last.saturating_sub(u64::from(u16::MAX))..=last)
            .rev()
            .find(|&at| {
                bytes.u32(at) == Some(END)
                    && bytes.u16(at + 20).is_some_and(|n| at + END_FIXED + u64::from(n) == len)
            })
            .ok_or_else(missing)?;
        Self::read(bytes, at).ok_or_else(|| malformed(at, "the end record is cut short"))?
    }

    fn read(bytes: &[u8], at: u64) -> Option<Result<Self, FrontendError>> {
        let (disks, here) = (bytes.u16(at + 4)?.max(bytes.u16(at + 6)?), bytes.u16(at + 8)?);
        let (entries, size, offset) =
            (bytes.u16(at + 10)?, bytes.u32(at + 12)?, bytes.u32(at + 16)?);
        let locator = at.checked_sub(LOCATOR64_LEN).filter(|&l| bytes.u32(l) == Some(LOCATOR64));
        let Some(locator) = locator else {
            if disks != 0 || here != entries {
                return Some(Err(spread(at)));
            }
            let directory = u64::from(offset)..u64::from(offset) + u64::from(size);
            let end = Self { at, zip64: None, entries: entries.into(), directory };
            return Some(end.bounded(at));
        };
        let record = bytes.u64(locator + 8)?;
        let says = bytes.u64(record.checked_add(4)?);
        let behind = says.and_then(|n| record.checked_add(12)?.checked_add(n));
        if bytes.u32(record) != Some(END64)
            || behind != Some(locator)
            || record.checked_add(END64_FIXED)? > locator
        {
            let problem = "the zip64 end record is not where its locator says";
            return Some(Err(malformed(locator, problem)));
        }
        let (here64, entries64) = (bytes.u64(record + 24)?, bytes.u64(record + 32)?);
        let (size64, offset64) = (bytes.u64(record + 40)?, bytes.u64(record + 48)?);
        if bytes.u32(record + 16)?.max(bytes.u32(record + 20)?) != 0 || here64 != entries64 {
            return Some(Err(spread(record)));
        }
        let same16 = |a: u16, b: u64| a == u16::MAX || u64::from(a) == b;
        let same32 = |a: u32, b: u64| a == ELSEWHERE || u64::from(a) == b;
        let Some(behind) = offset64.checked_add(size64) else {
            return Some(Err(malformed(record, "the directory reaches beyond the file")));
        };
        let counts = same16(entries, entries64) && same16(here, here64);
        if !counts || !same32(size, size64) || !same32(offset, offset64) {
            return Some(Err(malformed(at, "the two end records contradict each other")));
        }
        let zip64 = Some((record, locator));
        Some(Self { at, zip64, entries: entries64, directory: offset64..behind }.bounded(record))
    }

    /// The directory ends where the records behind it begin, as every reader assumes one way or the other.
    fn bounded(self, end: u64) -> Result<Self, FrontendError> {
        if self.directory.end == end {
            return Ok(self);
        }
        let Range { start, end: stop } = self.directory;
        Err(malformed(
            self.at,
            format!(
                "the directory is said to be at {start}..{stop}, but what follows it begins at {end}: \
                 damaged, or something was put before the archive"
            ),
        ))
    }
}

fn spread(at: u64) -> FrontendError {
    FrontendError::unsupported(format!("zip archive, byte {at}"), "an archive of several files")
}

/// The members, each checked against its local header.
pub(super) fn members(bytes: &[u8], end: &End) -> Result<Vec<Member>, FrontendError> {
    let Range { start, end: stop } = end.directory;
    let fitting = (stop - start) / CENTRAL_FIXED;
    if end.entries > fitting {
        let n = end.entries;
        return Err(malformed(end.at, format!("{n} members are announced, {fitting} would fit")));
    }
    let mut members = Vec::with_capacity(end.entries as usize);
    let mut at = start;
    for index in 0..end.entries {
        let member = central(bytes, at, stop).ok_or_else(|| {
            malformed(at, format!("record {index} of the directory is cut short"))
        })??;
        at = member.record.end;
        let checked = local(bytes, &member, start);
        let data = checked
            .ok_or_else(|| invalid(&member.name, "its local header or its data is cut short"))??;
        members.push(Member { data, ..member });
    }
    if at != stop {
        let problem = "the directory holds more than its members (a signature, or damage)";
        return Err(malformed(at, problem));
    }
    Ok(members)
}

/// A record of the directory. The range of data still is as long as it should be, but begins at 0.
fn central(bytes: &[u8], at: u64, stop: u64) -> Option<Result<Member, FrontendError>> {
    if bytes.u32(at)? != CENTRAL {
        return Some(Err(malformed(at, "there is no record of the directory")));
    }
    let (flags, method, crc) = (bytes.u16(at + 8)?, bytes.u16(at + 10)?, bytes.u32(at + 16)?);
    let (compressed, size) = (bytes.u32(at + 20)?, bytes.u32(at + 24)?);
    let lens = [bytes.u16(at + 28)?, bytes.u16(at + 30)?, bytes.u16(at + 32)?].map(u64::from);
    let (disk, header) = (bytes.u16(at + 34)?, bytes.u32(at + 42)?);
    let record = at..at + CENTRAL_FIXED + lens.iter().sum::<u64>();
    if record.end > stop {
        return None;
    }
    let name = match name(bytes.span(at + CENTRAL_FIXED, lens[0])?) {
        Ok(name) => name,
        Err((shown, why)) => return Some(Err(invalid(&shown, why))),
    };
    let extra = bytes.span(at + CENTRAL_FIXED + lens[0], lens[1])?;
    let zip64 = Zip64::read(extra, [size, compressed, header], disk == u16::MAX);
    let Some(Zip64 { values: [size, compressed, header], disk: disk64 }) = zip64 else {
        return Some(Err(invalid(&name, "its zip64 field is cut short")));
    };
    if disk64.unwrap_or(disk.into()) != 0 {
        return Some(Err(spread(at)));
    }
    if flags & ENCRYPTED != 0 {
        return Some(Err(FrontendError::unsupported(place(&name), "encryption")));
    }
    let method = match method {
        0 => Method::Stored,
        8 => Method::Deflated,
        other => Method::Other(other),
    };
    let lies = match method {
        Method::Stored => size != compressed,
        Method::Deflated => size / MAX_RATIO > compressed,
        Method::Other(_) => false,
    };
    if lies {
        let why = format!("{compressed} bytes are said to hold {size}, which cannot be");
        return Some(Err(invalid(&name, why)));
    }
    if name.ends_with('/') && size != 0 {
        return Some(Err(invalid(&name, "it is a directory and has data")));
    }
    Some(Ok(Member { name, method, crc, size, header, data: 0..compressed, record }))
}

/// Where the data of a member is, if its local header says what the directory does.
fn local(
    bytes: &[u8],
    member: &Member,
    directory: u64,
) -> Option<Result<Range<u64>, FrontendError>> {
    let (at, name) = (member.header, &member.name);
    if at >= directory || bytes.u32(at)? != LOCAL {
        return Some(Err(invalid(name, format!("there is no local header at byte {at}"))));
    }
    let (flags, method) = (bytes.u16(at + 6)?, bytes.u16(at + 8)?);
    let (crc, compressed, size) = (bytes.u32(at + 14)?, bytes.u32(at + 18)?, bytes.u32(at + 22)?);
    let (n, e) = (u64::from(bytes.u16(at + 26)?), u64::from(bytes.u16(at + 28)?));
    let says = match member.method {
        Method::Stored => 0,
        Method::Deflated => 8,
        Method::Other(other) => other,
    };
    if bytes.span(at + LOCAL_FIXED, n)? != name.as_bytes() || method != says {
        let why = "its local header has another name or method than the directory";
        return Some(Err(invalid(name, why)));
    }
    let extra = bytes.span(at + LOCAL_FIXED + n, e)?;
    let len = member.data.end;
    // With a descriptor behind the data, writers leave these fields empty, or full.
    if flags & DESCRIPTOR == 0 {
        let zip64 = Zip64::read(extra, [size, compressed, 0], false);
        if crc != member.crc || zip64.is_none_or(|z| z.values != [member.size, len, 0]) {
            let why = "its local header has another size or checksum than the directory";
            return Some(Err(invalid(name, why)));
        }
    }
    let start = at + LOCAL_FIXED + n + e;
    let end = start.checked_add(len)?;
    if end > directory {
        let why =
            format!("its data is said to reach to byte {end}, the directory begins at {directory}");
        return Some(Err(invalid(name, why)));
    }
    if flags & DESCRIPTOR != 0 && !described(bytes.span(end, directory - end)?, member, len) {
        let why = "what follows its data has another size or checksum than the directory";
        return Some(Err(invalid(name, why)));
    }
    Some(Ok(start..end))
}

/// Whether the descriptor behind the data (4.3.9) says what the directory does: with a signature or without one, sizes in 32
/// bits or in 64.
fn described(behind: &[u8], member: &Member, compressed: u64) -> bool {
    let says = |at: u64| {
        let sizes = behind.u32(at + 4).zip(behind.u32(at + 8)).map(|(c, s)| (c.into(), s.into()));
        let sizes64 = behind.u64(at + 4).zip(behind.u64(at + 12));
        let right = Some((compressed, member.size));
        behind.u32(at) == Some(member.crc) && (sizes == right || sizes64 == right)
    };
    says(0) || (behind.u32(0) == Some(SIGNED) && says(4))
}

/// Indices of members in the order of the file.
pub(super) fn in_order(members: &[Member]) -> Result<Vec<usize>, FrontendError> {
    let header = |i: usize| members.get(i).map_or(0, |m| m.header);
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&i| header(i));
    for pair in order.windows(2) {
        if let [a, b] = *pair
            && let (Some(a), Some(b)) = (members.get(a), members.get(b))
            && a.data.end > b.header
        {
            return Err(invalid(&b.name, format!("it overlaps member `{}`", a.name)));
        }
    }
    Ok(order)
}

/// The name, or how to show it and what is wrong with it.
fn name(bytes: &[u8]) -> Result<String, (String, &'static str)> {
    let shown = || String::from_utf8_lossy(bytes).escape_debug().to_string();
    let Ok(name) = std::str::from_utf8(bytes) else {
        return Err((shown(), "its name is not UTF-8"));
    };
    let inner = name.strip_suffix('/').unwrap_or(name);
    if inner.is_empty()
        || inner.split('/').any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err((shown(), "its name is no path inside the archive"));
    }
    if inner.contains(|c: char| c == '\\' || c.is_control()) || inner.get(1..2) == Some(":") {
        return Err((shown(), "its name has a character that means something else elsewhere"));
    }
    Ok(name.to_owned())
}

/// Sizes and offset where they are kept (4.5.3).
pub(super) struct Zip64 {
    /// Size, compressed size, offset of the local header.
    pub(super) values: [u64; 3],
    disk: Option<u32>,
}

impl Zip64 {
    /// Reads what the 32-bit fields leave to the extra field. `None` where it does not have it.
    pub(super) fn read(extra: &[u8], fields: [u32; 3], disk: bool) -> Option<Self> {
        if !disk && !fields.contains(&ELSEWHERE) {
            return Some(Self { values: fields.map(u64::from), disk: None });
        }
        let field = extras(extra).find(|(id, _)| *id == ZIP64)?.1;
        let body = field.get(4..)?;
        let mut at = 0;
        let mut values = [0; 3];
        for (value, field) in values.iter_mut().zip(fields) {
            *value = field.into();
            if field == ELSEWHERE {
                *value = body.u64(at)?;
                at += 8;
            }
        }
        let disk = if disk { Some(body.u32(at)?) } else { None };
        Some(Self { values, disk })
    }
}

/// The fields of an extra, each with its header of four bytes; what is no field at the end is one of number 0.
pub(super) fn extras(extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = extra;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = rest
            .u16(0)
            .zip(rest.u16(2))
            .and_then(|(id, len)| Some((id, rest.split_at_checked(4 + usize::from(len))?)));
        let (id, (field, behind)) = whole.unwrap_or((0, rest.split_at(rest.len())));
        rest = behind;
        Some((id, field))
    })
}
