//! An archive with members replaced, removed or added.
//!
//! What is not changed is copied byte for byte, local headers and what lies between members included. A member that is
//! replaced is stored; its checksum is put in when its data has been written ([`Content::seal`]). Where the data of a stored
//! member began at a multiple of 64 bytes it does so again, for those who map it: zeros come before its local header.

use super::{
    Archive, Member, Method,
    directory::{
        CENTRAL, CENTRAL_FIXED, DESCRIPTOR, ELSEWHERE, END64, END64_FIXED, Fields, LOCAL,
        LOCAL_FIXED, LOCATOR64, LOCATOR64_LEN, ZIP64, extras,
    },
    invalid, place,
};
use crate::{FrontendError, save::Content};
use std::{collections::BTreeMap, ops::Range};

/// What data that is mapped is aligned to.
const ALIGNMENT: u64 = 64;
/// What an extra field says before its data (4.5.1), and the number of the one that PyTorch pads with.
const EXTRA_HEADER: u64 = 4;
const PADDING: u16 = 0x4246;
/// The version that reads stored members, and the one that reads zip64 (4.4.3).
const VERSION_STORED: u16 = 20;
const VERSION_ZIP64: u16 = 45;
/// The name is UTF-8 (4.4.4).
const UTF8: u16 = 1 << 11;
/// The first of January 1980 (4.4.6).
const FIRST_DAY: u16 = 1 << 5 | 1;
/// How hard a member was deflated (4.4.4).
const EFFORT: u16 = 1 << 1 | 1 << 2;

/// Changes to an archive.
#[derive(Debug)]
pub struct Patch<'r, 'a> {
    archive: &'r Archive,
    source: u32,
    /// By member; `None` for those that go.
    changes: BTreeMap<usize, Option<Content<'a>>>,
    /// Members that are new, behind the others.
    added: Vec<(String, Content<'a>)>,
}

impl<'r, 'a> Patch<'r, 'a> {
    /// No changes to an archive that is that one of the sources of the contents.
    pub fn new(archive: &'r Archive, source: u32) -> Self {
        Self { archive, source, changes: BTreeMap::new(), added: Vec::new() }
    }

    /// Gives the member of that index other data.
    pub fn replace(&mut self, member: usize, data: Content<'a>) {
        self.changes.insert(member, Some(data));
    }

    /// Takes the member of that index away.
    pub fn remove(&mut self, member: usize) {
        self.changes.insert(member, None);
    }

    /// Adds a member behind the others, stored, its data at a multiple of 64 bytes. No member has its name.
    pub fn insert(&mut self, name: impl Into<String>, data: Content<'a>) {
        self.added.push((name.into(), data));
    }

    /// The archive with the changes; without any, exactly as it was.
    ///
    /// # Errors
    /// A header has no room for what would have to be said.
    pub fn finish(mut self) -> Result<Content<'a>, FrontendError> {
        let Archive { source, members, order, end, .. } = self.archive;
        let bytes = source.bytes();
        let mut out = Content::new();
        if self.changes.is_empty() && self.added.is_empty() {
            out.source(self.source, 0..source.len());
            return Ok(out);
        }
        let first = order.first().and_then(|&i| members.get(i));
        out.source(self.source, 0..first.map_or(end.directory.start, |m| m.header));
        // Where members are now, by index.
        let mut moved: BTreeMap<usize, Placed> = BTreeMap::new();
        for (position, &index) in order.iter().enumerate() {
            let Some(member) = members.get(index) else { continue };
            let next = order.get(position + 1).and_then(|&i| members.get(i));
            let extent = member.header..next.map_or(end.directory.start, |m| m.header);
            let change = match self.changes.remove(&index) {
                None => None,
                Some(None) => continue,
                Some(Some(data)) => Some((local(bytes, member, data.len())?, data)),
            };
            let before = match &change {
                None => member.data.start - member.header,
                Some((header, _)) => header.len() as u64,
            };
            let mut gap = 0;
            if member.method == Method::Stored && member.data.start.is_multiple_of(ALIGNMENT) {
                gap = (out.len() + before).next_multiple_of(ALIGNMENT) - (out.len() + before);
            }
            let (mut change, mut own) = (change, None);
            if gap > 0 && out.is_empty() {
                // An archive is known by the signature that it begins with: what is before its first data goes into the header.
                match &mut change {
                    Some((header, _)) => pad(&member.name, header, gap)?,
                    None => {
                        let len = member.data.start - member.header;
                        let header = bytes.span(member.header, len);
                        let cut = || invalid(&member.name, "its local header is cut short");
                        let mut header = header.ok_or_else(cut)?.to_vec();
                        pad(&member.name, &mut header, gap)?;
                        own = Some(header);
                    }
                }
                gap = 0;
            }
            out.bytes(&vec![0; gap as usize]);
            let header = out.len();
            let mut placed = Placed { header, data: None };
            match (change, own) {
                (None, None) => out.source(self.source, extent),
                (None, Some(header)) => {
                    out.bytes(&header);
                    out.source(self.source, member.data.start..extent.end);
                }
                (Some((local, data)), _) => {
                    out.bytes(&local);
                    placed.data = Some(out.len()..out.len() + data.len());
                    out.append(data);
                }
            }
            moved.insert(index, placed);
        }
        let mut new = Vec::with_capacity(self.added.len());
        for (name, data) in std::mem::take(&mut self.added) {
            let (local, size) = (fresh_local(&name, data.len())?, data.len());
            let begin = (out.len() + local.len() as u64).next_multiple_of(ALIGNMENT);
            out.bytes(&vec![0; (begin - local.len() as u64 - out.len()) as usize]);
            let header = out.len();
            out.bytes(&local);
            out.append(data);
            new.push((name, Placed { header, data: Some(begin..begin + size) }));
        }
        let start = out.len();
        let count = (moved.len() + new.len()) as u64;
        let (mut directory, mut seals) = (Vec::new(), Vec::new());
        for (index, placed) in moved {
            let Some(member) = members.get(index) else { continue };
            let at = start + directory.len() as u64;
            directory.extend(central(bytes, member, &placed)?);
            if let Some(data) = placed.data {
                seals.push((data, vec![placed.header + 14, at + 16]));
            }
        }
        for (name, placed) in new {
            let at = start + directory.len() as u64;
            let Some(data) = placed.data else { continue };
            directory.extend(fresh_central(&name, data.end - data.start, placed.header)?);
            seals.push((data, vec![placed.header + 14, at + 16]));
        }
        out.bytes(&directory);
        out.bytes(&self.end(count, start, directory.len() as u64));
        seals.sort_by_key(|(data, _)| data.start);
        seals.into_iter().for_each(|(data, at)| out.seal(data, at));
        Ok(out)
    }

    /// The records behind a directory of that many members and bytes that begins there.
    fn end(&self, count: u64, start: u64, len: u64) -> Vec<u8> {
        let (bytes, end) = (self.archive.source.bytes(), &self.archive.end);
        let mut out = Vec::new();
        let large = count >= u16::MAX.into() || start.max(len) >= ELSEWHERE.into();
        if end.zip64.is_some() || large {
            let (mut record, mut locator) = match end.zip64 {
                Some((record, locator)) => (
                    bytes.span(record, locator - record).unwrap_or_default().to_vec(),
                    bytes.span(locator, LOCATOR64_LEN).unwrap_or_default().to_vec(),
                ),
                None => new_zip64(),
            };
            for (at, value) in [(24, count), (32, count), (40, len), (48, start)] {
                put(&mut record, at, &value.to_le_bytes());
            }
            put(&mut locator, 8, &(start + len).to_le_bytes());
            out.extend([record, locator].concat());
        }
        let mut last = bytes.get(end.at as usize..).unwrap_or_default().to_vec();
        let narrow = |value: u64| u32::try_from(value).unwrap_or(ELSEWHERE);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        // What was left to the zip64 record still is.
        for (at, value) in [(8, count), (10, count)] {
            if end.zip64.is_none() || last.u16(at) != Some(u16::MAX) {
                put(&mut last, at, &value.to_le_bytes());
            }
        }
        for (at, value) in [(12, narrow(len)), (16, narrow(start))] {
            if end.zip64.is_none() || last.u32(at) != Some(ELSEWHERE) {
                put(&mut last, at, &value.to_le_bytes());
            }
        }
        out.extend(last);
        out
    }
}

/// Where a member is in the new archive.
struct Placed {
    header: u64,
    /// Its data, if that is new.
    data: Option<Range<u64>>,
}

/// Writes over bytes at an offset.
fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at as usize..at as usize + value.len()) {
        target.copy_from_slice(value);
    }
}

/// A zip64 record and its locator without their numbers (4.3.14, 4.3.15).
fn new_zip64() -> (Vec<u8>, Vec<u8>) {
    let mut record = vec![0; END64_FIXED as usize];
    put(&mut record, 0, &END64.to_le_bytes());
    put(&mut record, 4, &(END64_FIXED - 12).to_le_bytes());
    put(&mut record, 12, &[VERSION_ZIP64, VERSION_ZIP64].map(u16::to_le_bytes).concat());
    let mut locator = vec![0; LOCATOR64_LEN as usize];
    put(&mut locator, 0, &LOCATOR64.to_le_bytes());
    put(&mut locator, 16, &1u32.to_le_bytes());
    (record, locator)
}

/// The fields of an extra without those of zip64.
fn others(extra: &[u8]) -> Vec<u8> {
    extras(extra).filter(|(id, _)| *id != ZIP64).flat_map(|(_, field)| field).copied().collect()
}

/// The zip64 field of an extra.
fn zip64_field(values: &[u64]) -> Vec<u8> {
    let mut field = [ZIP64, values.len() as u16 * 8].map(u16::to_le_bytes).concat();
    field.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    field
}

/// Says that a member is stored, with its sizes before its data.
fn stored(header: &mut [u8], flags: u64) {
    let was = header.u16(flags).unwrap_or_default();
    put(header, flags, &(was & !(DESCRIPTOR | EFFORT)).to_le_bytes());
    put(header, flags + 2, &0u16.to_le_bytes());
}

/// Raises the version that is needed, at a place of a header.
fn needs_zip64(header: &mut [u8], at: u64) {
    let was = header.u16(at).unwrap_or_default();
    if was & 0xff < VERSION_ZIP64 {
        put(header, at, &(was & 0xff00 | VERSION_ZIP64).to_le_bytes());
    }
}

/// Sets the length of the extra of a header.
fn set_extra(name: &str, header: &mut [u8], at: u64, extra: &[u8]) -> Result<(), FrontendError> {
    let len = u16::try_from(extra.len()).map_err(|_| {
        FrontendError::unsupported(place(name), "an extra field of more than 64 KiB")
    })?;
    put(header, at, &len.to_le_bytes());
    Ok(())
}

/// Makes a local header longer, by an extra field of zeros (4.5.1), so that what follows keeps its alignment.
fn pad(name: &str, header: &mut Vec<u8>, gap: u64) -> Result<(), FrontendError> {
    let gap = if gap < EXTRA_HEADER { gap + ALIGNMENT } else { gap };
    let was = u64::from(header.as_slice().u16(28).unwrap_or_default());
    let len = u16::try_from(was + gap).map_err(|_| {
        FrontendError::unsupported(place(name), "an extra field of more than 64 KiB")
    })?;
    put(header, 28, &len.to_le_bytes());
    header.extend([PADDING, (gap - EXTRA_HEADER) as u16].map(u16::to_le_bytes).concat());
    header.resize(header.len() + (gap - EXTRA_HEADER) as usize, 0);
    Ok(())
}

/// The local header of a member whose data is new.
fn local(bytes: &[u8], member: &Member, size: u64) -> Result<Vec<u8>, FrontendError> {
    let cut = || invalid(&member.name, "its local header is cut short");
    let at = member.header;
    let mut header = bytes.span(at, LOCAL_FIXED).ok_or_else(cut)?.to_vec();
    let name = member.name.as_bytes();
    let begin = at + LOCAL_FIXED + name.len() as u64;
    let old = member.data.start.checked_sub(begin).and_then(|len| bytes.span(begin, len));
    let mut extra = others(old.ok_or_else(cut)?);
    stored(&mut header, 6);
    put(&mut header, 14, &[0; 4]);
    // A local header leaves both sizes to zip64, or none (4.5.3).
    let narrow = u32::try_from(size).unwrap_or(ELSEWHERE);
    if narrow == ELSEWHERE {
        extra.extend(zip64_field(&[size, size]));
        needs_zip64(&mut header, 4);
    }
    put(&mut header, 18, &[narrow, narrow].map(u32::to_le_bytes).concat());
    set_extra(&member.name, &mut header, 28, &extra)?;
    Ok([&header, name, &extra].concat())
}

/// A member's version, flags, method, time and date (4.4.3 to 4.4.6): stored, on the first day there is.
fn fresh(name: &str, zip64: bool) -> Vec<u8> {
    let version = if zip64 { VERSION_ZIP64 } else { VERSION_STORED };
    let flags = if name.is_ascii() { 0 } else { UTF8 };
    [version, flags, 0, 0, FIRST_DAY].map(u16::to_le_bytes).concat()
}

/// The length of a name, or of an extra, as headers say it.
fn short(name: &str, len: usize) -> Result<[u8; 2], FrontendError> {
    let len = u16::try_from(len);
    let len = len.map_err(|_| FrontendError::unsupported(place(name), "a name of that length"))?;
    Ok(len.to_le_bytes())
}

/// The local header of a member that is new, its checksum left out.
fn fresh_local(name: &str, size: u64) -> Result<Vec<u8>, FrontendError> {
    let narrow = u32::try_from(size).unwrap_or(ELSEWHERE);
    let wide = narrow == ELSEWHERE;
    let extra = if wide { zip64_field(&[size, size]) } else { Vec::new() };
    let mut header = [&LOCAL.to_le_bytes(), &*fresh(name, wide), &[0; 4]].concat();
    header.extend([narrow, narrow].map(u32::to_le_bytes).concat());
    header.extend([short(name, name.len())?, short(name, extra.len())?].concat());
    Ok([&header, name.as_bytes(), &extra].concat())
}

/// The record of a member that is new, its checksum left out.
fn fresh_central(name: &str, size: u64, at: u64) -> Result<Vec<u8>, FrontendError> {
    let (narrow, place) =
        (u32::try_from(size).unwrap_or(ELSEWHERE), u32::try_from(at).unwrap_or(ELSEWHERE));
    let mut wide = Vec::new();
    if narrow == ELSEWHERE {
        wide.extend([size, size]);
    }
    if place == ELSEWHERE {
        wide.push(at);
    }
    let extra = if wide.is_empty() { Vec::new() } else { zip64_field(&wide) };
    let made = if wide.is_empty() { VERSION_STORED } else { VERSION_ZIP64 };
    let mut header = [&CENTRAL.to_le_bytes(), made.to_le_bytes().as_slice()].concat();
    header.extend([&*fresh(name, !wide.is_empty()), &[0; 4]].concat());
    header.extend([narrow, narrow].map(u32::to_le_bytes).concat());
    header.extend([short(name, name.len())?, short(name, extra.len())?].concat());
    // Comment, disk, attributes.
    header.extend([0; 10]);
    header.extend(place.to_le_bytes());
    Ok([&header, name.as_bytes(), &extra].concat())
}

/// The record of a member in the directory.
fn central(bytes: &[u8], member: &Member, placed: &Placed) -> Result<Vec<u8>, FrontendError> {
    let cut = || invalid(&member.name, "its record in the directory is cut short");
    let record = bytes.span(member.record.start, member.record.end - member.record.start);
    let record = record.ok_or_else(cut)?;
    if placed.data.is_none() && placed.header == member.header {
        return Ok(record.to_vec());
    }
    let mut header = record.span(0, CENTRAL_FIXED).ok_or_else(cut)?.to_vec();
    let (n, e) = (member.name.len() as u64, u64::from(record.u16(30).ok_or_else(cut)?));
    let old = record.span(CENTRAL_FIXED + n, e).ok_or_else(cut)?;
    let behind = record.get((CENTRAL_FIXED + n + e) as usize..).ok_or_else(cut)?;
    let mut sizes = [member.size, member.compressed()];
    if let Some(data) = &placed.data {
        sizes = [data.end - data.start; 2];
        stored(&mut header, 8);
        put(&mut header, 16, &[0; 4]);
    }
    // The number of the only file is 0, whatever said so.
    put(&mut header, 34, &[0; 2]);
    let mut wide = Vec::new();
    for (at, value) in [(24, sizes[0]), (20, sizes[1]), (42, placed.header)] {
        // What was left to zip64 stays there, so that a record changes as little as it can.
        let narrow = u32::try_from(value).unwrap_or(ELSEWHERE);
        let left = placed.data.is_none() && record.u32(at) == Some(ELSEWHERE);
        if narrow == ELSEWHERE || left {
            wide.push(value);
            put(&mut header, at, &ELSEWHERE.to_le_bytes());
        } else {
            put(&mut header, at, &narrow.to_le_bytes());
        }
    }
    let mut extra = Vec::new();
    if !wide.is_empty() {
        extra = zip64_field(&wide);
        needs_zip64(&mut header, 6);
    }
    extra.extend(others(old));
    set_extra(&member.name, &mut header, 30, &extra)?;
    Ok([&header, member.name.as_bytes(), &extra, behind].concat())
}
