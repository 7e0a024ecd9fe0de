//! Archives made field by field, so that every field can lie.

/// A member to be.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    /// The name in the local header.
    pub(super) local_name: Vec<u8>,
    pub(super) method: u16,
    pub(super) flags: u16,
    pub(super) crc: u32,
    pub(super) size: u64,
    pub(super) compressed: u64,
    pub(super) packed: Vec<u8>,
    /// Sizes and offset in the zip64 field.
    pub(super) zip64: bool,
    /// The data begins at a multiple of that, by a field of padding as in files of PyTorch.
    pub(super) align: usize,
    /// What follows the data: a descriptor.
    pub(super) behind: Vec<u8>,
    pub(super) comment: Vec<u8>,
    /// The offset of the local header, if it is not where it is.
    pub(super) header: Option<u64>,
    /// The size and the checksum in the local header.
    pub(super) local: Option<(u64, u32)>,
}

impl Entry {
    pub(super) fn stored(name: &str, data: &[u8]) -> Self {
        let size = data.len() as u64;
        Self {
            name: name.into(),
            local_name: name.into(),
            method: 0,
            flags: 0,
            crc: crc32fast::hash(data),
            size,
            compressed: size,
            packed: data.to_vec(),
            zip64: false,
            align: 1,
            behind: Vec::new(),
            comment: Vec::new(),
            header: None,
            local: None,
        }
    }

    pub(super) fn deflated(name: &str, data: &[u8]) -> Self {
        let packed = miniz_oxide::deflate::compress_to_vec(data, 6);
        Self { method: 8, compressed: packed.len() as u64, packed, ..Self::stored(name, data) }
    }

    pub(super) fn zip64(self) -> Self {
        Self { zip64: true, ..self }
    }

    pub(super) fn aligned(self) -> Self {
        Self { align: 64, ..self }
    }

    /// Sizes and checksum behind the data.
    pub(super) fn streamed(self) -> Self {
        let mut behind = b"PK\x07\x08".to_vec();
        behind.extend(self.crc.to_le_bytes());
        behind.extend([self.compressed as u32, self.size as u32].map(u32::to_le_bytes).concat());
        Self { flags: self.flags | 8, behind, local: Some((0, 0)), ..self }
    }
}

/// An archive to be.
#[derive(Clone)]
pub(super) struct Built {
    pub(super) entries: Vec<Entry>,
    pub(super) comment: Vec<u8>,
    pub(super) zip64: bool,
    /// What comes first.
    pub(super) prefix: Vec<u8>,
    /// How many members are announced, if not as many as there are.
    pub(super) count: Option<u64>,
}

impl Built {
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        Self { entries, comment: Vec::new(), zip64: false, prefix: Vec::new(), count: None }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.prefix.clone();
        let mut directory = Vec::new();
        for e in &self.entries {
            let header = e.header.unwrap_or(out.len() as u64);
            let (size, crc) = e.local.unwrap_or((e.size, e.crc));
            let packed = if e.local.is_some() { size } else { e.compressed };
            let mut extra = Vec::new();
            if e.zip64 {
                extra.extend([1u16, 16].map(u16::to_le_bytes).concat());
                extra.extend([size, packed].map(u64::to_le_bytes).concat());
            }
            let begin = out.len() + 30 + e.local_name.len() + extra.len();
            if e.align > 1 && !begin.is_multiple_of(e.align) {
                let pad = (begin + 4).next_multiple_of(e.align) - begin - 4;
                extra.extend(b"FB");
                extra.extend((pad as u16).to_le_bytes());
                extra.extend(vec![b'Z'; pad]);
            }
            let narrow = |v: u64| if e.zip64 { u32::MAX } else { v as u32 };
            out.extend(0x0403_4b50u32.to_le_bytes());
            out.extend([20, e.flags, e.method, 0x6000, 0x5000].map(u16::to_le_bytes).concat());
            out.extend([crc, narrow(packed), narrow(size)].map(u32::to_le_bytes).concat());
            out.extend(
                [e.local_name.len() as u16, extra.len() as u16].map(u16::to_le_bytes).concat(),
            );
            out.extend(&e.local_name);
            out.extend(extra);
            out.extend(&e.packed);
            out.extend(&e.behind);

            let mut extra = Vec::new();
            if e.zip64 {
                extra.extend([1u16, 24].map(u16::to_le_bytes).concat());
                extra.extend([e.size, e.compressed, header].map(u64::to_le_bytes).concat());
            }
            directory.extend(0x0201_4b50u32.to_le_bytes());
            directory
                .extend([20, 20, e.flags, e.method, 0x6000, 0x5000].map(u16::to_le_bytes).concat());
            directory.extend(
                [e.crc, narrow(e.compressed), narrow(e.size)].map(u32::to_le_bytes).concat(),
            );
            let lens = [e.name.len(), extra.len(), e.comment.len(), 0, 0];
            directory.extend(lens.map(|n| (n as u16).to_le_bytes()).concat());
            directory.extend([0x0180_0000, narrow(header)].map(u32::to_le_bytes).concat());
            directory.extend(&e.name);
            directory.extend(extra);
            directory.extend(&e.comment);
        }
        let (start, len) = (out.len() as u64, directory.len() as u64);
        out.extend(directory);
        let count = self.count.unwrap_or(self.entries.len() as u64);
        if self.zip64 {
            out.extend(0x0606_4b50u32.to_le_bytes());
            out.extend(44u64.to_le_bytes());
            out.extend([45u16, 45, 0, 0, 0, 0].map(u16::to_le_bytes).concat());
            out.extend([count, count, len, start].map(u64::to_le_bytes).concat());
            out.extend([0x0706_4b50u32, 0].map(u32::to_le_bytes).concat());
            out.extend((start + len).to_le_bytes());
            out.extend(1u32.to_le_bytes());
        }
        let all = |wide: u64, most: u64| if self.zip64 { most } else { wide };
        out.extend(0x0605_4b50u32.to_le_bytes());
        let short = all(count, 0xffff) as u16;
        out.extend([0, 0, short, short].map(u16::to_le_bytes).concat());
        let most = u32::MAX.into();
        out.extend([all(len, most) as u32, all(start, most) as u32].map(u32::to_le_bytes).concat());
        out.extend((self.comment.len() as u16).to_le_bytes());
        out.extend(&self.comment);
        out
    }
}
