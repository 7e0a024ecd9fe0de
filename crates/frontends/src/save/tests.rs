use super::*;
use crate::{FrontendError, bytes::MappedFile};
use std::{fs, path::Path, sync::Arc};

#[derive(Debug)]
struct Counting(u64);

impl ChunkProducer for Counting {
    fn len(&self) -> u64 {
        self.0
    }
    fn produce(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        assert_eq!(offset % CHUNK_ALIGN as u64, 0);
        for (i, b) in buf.iter_mut().enumerate() {
            *b = ((offset + i as u64) / 7) as u8;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Failing;

impl ChunkProducer for Failing {
    fn len(&self) -> u64 {
        20 << 20
    }
    fn produce(&self, offset: u64, _: &mut [u8]) -> io::Result<()> {
        if offset < 10 << 20 { Ok(()) } else { Err(io::Error::other("no such weight")) }
    }
}

fn big() -> (Content<'static>, Vec<Source>, Vec<u8>) {
    let source: Vec<u8> = (0..5_000_000u32).map(|i| (i / 3) as u8).collect();
    let mut content = Content::new();
    let mut expected = Vec::new();
    let mut put = |content: &mut Content<'_>, kind: usize, n: u64| match kind {
        0 => {
            content.source(0, 1000..1000 + n);
            expected.extend_from_slice(&source[1000..1000 + n as usize]);
        }
        1 => {
            let bytes = vec![0xee; n as usize];
            content.bytes(&bytes);
            expected.extend_from_slice(&bytes);
        }
        _ => {
            content.produced(Box::new(Counting(n)));
            expected.extend((0..n).map(|i| (i / 7) as u8));
        }
    };
    for (kind, n) in [
        (0, 17),
        (1, 3),
        (2, 3_000_001),
        (1, 5),
        (2, 9_000_000),
        (0, 4_900_000),
        (2, 64),
        (1, 70_000),
        (2, 8 << 20),
    ] {
        put(&mut content, kind, n);
    }
    for i in 0..2000 {
        put(&mut content, i % 3, 1 + i as u64 * 37 % 900);
    }
    (content, vec![Source::Memory(Arc::from(source))], expected)
}

#[test]
fn seals_are_put_in_wherever_they_stand() {
    let (big, sources, bytes) = big();
    let len = big.len();
    let mut content = Content::new();
    content.bytes(b"xxxx");
    content.append(big);
    content.bytes(b"yyyyzzzz");
    content.seal(4..4 + len, vec![0, len + 4]);
    let mut whole = Content::new();
    whole.bytes(b"before");
    whole.seal(0..0, vec![2]);
    whole.append(content);
    let sum = &crc32fast::hash(&bytes).to_le_bytes()[..];
    let expected = [b"be\0\0\0\0", sum, &bytes, sum, b"zzzz"].concat();
    let mut streamed = Vec::new();
    whole.write_to(&sources, &mut streamed, WriteOptions::default()).unwrap();
    assert!(streamed == expected);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    for threads in [1, 4] {
        let options = WriteOptions { threads, ..WriteOptions::default() };
        write_file(&whole, &sources, &[], &target, options).unwrap();
        assert!(fs::read(&target).unwrap() == expected, "{threads} threads");
    }
}

fn leftovers(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let (content, sources, expected) = big();
    assert_eq!(content.len(), expected.len() as u64);
    let mut streamed = Vec::new();
    content.write_to(&sources, &mut streamed, WriteOptions::default()).unwrap();
    assert!(streamed == expected);
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    for threads in [0, 1, 2, 5] {
        let last = AtomicU64::new(0);
        let progress = |done: u64, total: u64| {
            assert_eq!(total, content.len());
            last.fetch_max(done, Relaxed);
            ControlFlow::Continue(())
        };
        write_file(
            &content,
            &sources,
            &[],
            &target,
            WriteOptions { threads, progress: Some(&progress), sync: threads > 2 },
        )
        .unwrap();
        assert!(fs::read(&target).unwrap() == expected, "{threads} threads");
        assert_eq!(last.load(Relaxed), content.len());
    }
    assert_eq!(leftovers(dir.path()), 1);
}

#[test]
fn outputs_are_written_by_cells_of_the_grid_from_where_their_pages_are() {
    let (big, sources, expected) = big();
    let mut content = Content::new();
    content.bytes(b"xyz");
    content.append(big);
    let all = [b"xyz", &expected[..]].concat();
    let written = Mutex::new(Vec::new());
    let cell = |at: u64| at / CELL as u64;
    let write = |at: u64, bytes: &[u8]| {
        assert_eq!(cell(at), cell(at + bytes.len() as u64 - 1));
        assert_eq!(bytes.as_ptr() as u64 % 4096, at % 4096);
        let from = at as usize;
        assert!(bytes == &all[from..from + bytes.len()]);
        written.lock().unwrap().push(at..at + bytes.len() as u64);
        Ok(())
    };
    let options = WriteOptions { threads: 2, ..WriteOptions::default() };
    let jobs = content.jobs();
    assert!(jobs.iter().skip(1).any(|job| job.at % 64 > 0));
    content.write_at(&sources, &write, options, false).unwrap();
    let mut written = written.into_inner().unwrap();
    written.sort_by_key(|r| r.start);
    assert!(written.windows(2).all(|w| w[0].end == w[1].start));
    let borders = written.iter().filter(|r| r.end % CELL as u64 > 0).count();
    assert!(borders <= jobs.len(), "{borders} writes end within a cell");
}

/// Computed chunks that go on behind the cell in which they begin, to the end of the output or not.
#[test]
fn chunks_may_end_behind_a_cell() {
    for before in [0, 1, 35, 63, 64, 100] {
        for len in (0..70).map(|d| CELL as u64 - before + d) {
            let mut content = Content::new();
            content.bytes(&vec![7; before as usize]);
            content.produced(Box::new(Counting(len)));
            let middle = content.len() as usize;
            content.bytes(b"end");
            let mut out = Vec::new();
            content.write_to(&[], &mut out, WriteOptions::default()).unwrap();
            let (head, tail) = out.split_at(before as usize);
            assert!(head.iter().all(|&b| b == 7));
            assert!((0..len).zip(tail).all(|(i, &b)| b == (i / 7) as u8), "{before} {len}");
            assert_eq!(&out[middle..], b"end");
            content = Content::new();
            content.bytes(&vec![7; before as usize]);
            content.produced(Box::new(Counting(len)));
            let mut alone = Vec::new();
            content.write_to(&[], &mut alone, WriteOptions::default()).unwrap();
            assert!(alone == out[..middle], "{before} {len}");
        }
    }
}

#[test]
fn adjacent_segments_are_joined() {
    let mut a = Content::new();
    a.source(0, 0..5);
    a.source(0, 5..9);
    a.source(0, 9..9);
    assert!(a.is_source(0..9) && !a.is_source(0..8));
    a.bytes(b"xy");
    let mut b = Content::new();
    b.bytes(b"z");
    b.source(0, 20..22);
    a.append(b);
    a.source(0, 22..23);
    assert_eq!(a.segments.len(), 3);
    let source = [Source::Memory(Arc::from(&b"abcdefghijklmnopqrstuvwxyz"[..]))];
    let mut out = Vec::new();
    a.write_to(&source, &mut out, WriteOptions::default()).unwrap();
    assert_eq!(out, b"abcdefghixyzuvw");
    let mut aligned = Content::new();
    aligned.bytes(b"abc");
    aligned.align(4096);
    assert_eq!(aligned.len(), 4096);
}

#[test]
fn a_failure_leaves_the_target_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    fs::write(&target, b"before").unwrap();
    let mut content = Content::new();
    content.produced(Box::new(Failing));
    for threads in [1, 3] {
        let e = write_file(
            &content,
            &[],
            &[],
            &target,
            WriteOptions { threads, ..WriteOptions::default() },
        )
        .unwrap_err();
        assert!(e.to_string().contains("no such weight"), "{e}");
    }
    let mut short = Content::new();
    short.source(0, 0..10);
    let source = [Source::Memory(Arc::from(&b"abc"[..]))];
    let e = write_file(&short, &source, &["in.onnx".into()], &target, WriteOptions::default())
        .unwrap_err();
    assert!(e.to_string().contains("cannot read `in.onnx`"), "{e}");
    assert_eq!(fs::read(&target).unwrap(), b"before");
    assert_eq!(leftovers(dir.path()), 1);
}

#[test]
fn a_panic_leaves_no_file() {
    #[derive(Debug)]
    struct Panicking;
    impl ChunkProducer for Panicking {
        fn len(&self) -> u64 {
            30 << 20
        }
        fn produce(&self, offset: u64, _: &mut [u8]) -> io::Result<()> {
            assert!(offset < 20 << 20, "deliberate");
            Ok(())
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    let mut content = Content::new();
    content.produced(Box::new(Panicking));
    for threads in [1, 2] {
        let options = WriteOptions { threads, ..WriteOptions::default() };
        let write = std::panic::AssertUnwindSafe(|| {
            write_file(&content, &[], &[], &target, options).map_err(drop)
        });
        let result = std::panic::catch_unwind(write);
        assert!(result.is_err());
    }
    assert_eq!(leftovers(dir.path()), 0);
}

#[test]
fn an_absent_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("no/such/out.onnx");
    let mut content = Content::new();
    content.bytes(b"x");
    let e = write_file(&content, &[], &[], &target, WriteOptions::default()).unwrap_err();
    assert!(matches!(&e, FrontendError::Io { path, .. } if *path == target), "{e}");
    assert!(e.to_string().contains("there is no directory"), "{e}");
    let e = write_file(&content, &[], &[], dir.path(), WriteOptions::default()).unwrap_err();
    assert!(
        matches!(&e, FrontendError::Io { source, .. } if source.kind() == io::ErrorKind::IsADirectory),
        "{e}"
    );
}

#[cfg(unix)]
#[test]
fn permissions_and_links_of_the_target_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let (target, link) = (dir.path().join("out"), dir.path().join("link"));
    fs::write(&target, b"before").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("out", &link).unwrap();
    let mut content = Content::new();
    content.bytes(b"after");
    write_file(&content, &[], &[], &link, WriteOptions::default()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&target).unwrap(), b"after");
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
}

#[cfg(unix)]
#[test]
fn a_link_to_what_is_not_there_yet_is_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    let (second, first) = (dir.path().join("second"), dir.path().join("first"));
    symlink("real/out", &second).unwrap();
    symlink("second", &first).unwrap();
    let real = dir.path().join("real/out");
    assert_eq!(FileIdentity::of(&first), FileIdentity::of(&real));
    let mut content = Content::new();
    content.bytes(b"x");
    write_file(&content, &[], &[], &first, WriteOptions::default()).unwrap();
    assert!(fs::symlink_metadata(&real).unwrap().is_file());
    assert!(fs::symlink_metadata(&first).unwrap().is_symlink());
    assert_eq!(FileIdentity::of(&first), FileIdentity::of(&real));
    let circle = dir.path().join("circle");
    symlink("circle", &circle).unwrap();
    write_file(&content, &[], &[], &circle, WriteOptions::default()).unwrap_err();
    assert_eq!(FileIdentity::of(&circle), None);
    assert_eq!(
        (fs::read_dir(dir.path()).unwrap().count(), leftovers(&dir.path().join("real"))),
        (4, 1)
    );
}

#[test]
fn one_file_has_one_identity() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("sub/../a"));
    fs::create_dir(dir.path().join("sub")).unwrap();
    let of = |path: &Path| FileIdentity::of(path).unwrap();
    assert_eq!(of(&a), of(&b));
    assert_ne!(of(&a), of(&dir.path().join("sub/a")));
    fs::write(&a, b"").unwrap();
    assert_eq!(of(&a), of(&b));
    assert_ne!(of(&a), of(&dir.path().join("c")));
    assert_eq!(FileIdentity::of(&dir.path().join("no/such")), None);
    assert_eq!(FileIdentity::of(dir.path()), None);
}

/// A check takes its time: what it looked at has to be what the input is by then.
#[test]
fn an_input_that_changes_during_a_check_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (input, target) = (dir.path().join("in"), dir.path().join("out"));
    fs::write(&input, b"abc").unwrap();
    let source = Source::File(Arc::new(MappedFile::open(&input).unwrap()));
    let mut content = Content::new();
    content.source(0, 0..3);
    let write = |check: &Check<'_>| {
        let mut transaction = Transaction::default();
        transaction.input(source.clone(), input.clone());
        let (sources, names) = ([source.clone()], [input.clone()]);
        let how = WriteOptions::default();
        write_checked(&content, &sources, &names, &target, how, Some(check), transaction)
    };
    write(&|finished| fs::read(finished).unwrap() == b"abc").unwrap();
    fs::remove_file(&target).unwrap();
    let e = write(&|_| fs::write(&input, b"abcd").is_ok()).unwrap_err();
    assert!(e.to_string().contains("changed while it was read"), "{e}");
    assert_eq!(leftovers(dir.path()), 1);
}

#[test]
fn the_longest_name_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = Content::new();
    content.bytes(b"x");
    for name in ["n".repeat(255), format!("{}ß", "n".repeat(253)), "ß".repeat(127)] {
        let target = dir.path().join(name);
        write_file(&content, &[], &[], &target, WriteOptions::default()).unwrap();
        write_stream(&target, false, |out| out.write_all(b"y")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"y");
    }
}

#[test]
fn what_is_made_bit_by_bit_appears_complete_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("out");
    write_stream(&target, false, |out| out.write_all(&[1; 100_000])).unwrap();
    let e = write_stream(&target, false, |out| {
        out.write_all(&[2; 100_000])?;
        Err(io::Error::other("no more"))
    });
    assert!(e.unwrap_err().to_string().contains("no more"));
    assert_eq!(fs::read(&target).unwrap(), [1; 100_000]);
    assert_eq!(leftovers(dir.path()), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_a_name_is_written_not_replaced() {
    use std::os::fd::AsRawFd;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone");
    let mut options = fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let target = format!("/proc/self/fd/{}", file.as_raw_fd());
    write_stream(Path::new(&target), false, |out| out.write_all(b"x")).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 1);
    assert_eq!(leftovers(dir.path()), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_device_is_written_not_replaced() {
    let mut content = Content::new();
    content.bytes(b"x");
    write_file(&content, &[], &[], Path::new("/dev/null"), WriteOptions::default()).unwrap();
    assert!(!fs::metadata("/dev/null").unwrap().is_file());
    let e = write_file(&content, &[], &[], Path::new("/dev/full"), WriteOptions::default())
        .unwrap_err();
    assert!(e.to_string().contains("cannot write `/dev/full`"), "{e}");
}
