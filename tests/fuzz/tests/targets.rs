//! Every target on every seed and every kept finding, and on mutations of them that are the same in every run.

use normfold_fuzz::{Random, TARGETS, Target};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Counts what each thread holds, to see what an input costs.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn note(bytes: isize) {
    HELD.set(HELD.get() + bytes);
    MOST.set(MOST.get().max(HELD.get()));
}

#[allow(
    unsafe_code,
    reason = "an allocator is unsafe by nature; all is left to that of the system"
)]
// SAFETY: every call goes to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What an input may make the program hold: the evaluator and const-fold have limits of their own, the rest is in
/// proportion to the input.
fn allowed(input: usize) -> isize {
    (256 << 20) + 4096 * input as isize
}

fn tried(target: Target, data: &[u8], what: &dyn Fn() -> String) {
    let before = HELD.get();
    MOST.set(before);
    if catch_unwind(AssertUnwindSafe(|| (target.run)(data))).is_err() {
        let shown = String::from_utf8_lossy(data.get(..4096).unwrap_or(data));
        panic!("{}: a finding: {}\n{}", target.name, what(), shown.escape_debug());
    }
    let most = MOST.get() - before;
    assert!(
        most <= allowed(data.len()),
        "{}: {}: {most} bytes held for {} of input",
        target.name,
        what(),
        data.len()
    );
}

fn target(name: &str, mutations: usize) {
    const LARGEST: u64 = 24 << 10;
    let target = Target::named(name).expect("a target");
    let seeds = target.seeds(LARGEST);
    assert!(seeds.len() > 3, "{} seeds", seeds.len());
    for (path, data) in &seeds {
        tried(target, data, &|| path.display().to_string());
    }
    // Some mutations build on those before.
    let mut random = Random::new(mutations as u64);
    let mut last: Option<Vec<u8>> = None;
    let mut different = BTreeSet::new();
    for round in 0..mutations {
        let (path, seed) = &seeds[random.below(seeds.len())];
        let mut data = last.take().unwrap_or_else(|| seed.clone());
        (target.mutate)(&mut data, &mut random);
        tried(target, &data, &|| format!("mutation {round} (the newest seed {})", path.display()));
        different.insert(data.clone());
        last = (!random.once_in(4) && data.len() < LARGEST as usize).then_some(data);
    }
    assert!(different.len() * 2 > mutations, "the mutator changes little");
}

#[test]
fn onnx() {
    target("onnx", 600);
}

#[test]
fn text() {
    target("text", 600);
}

#[test]
fn pipeline() {
    target("pipeline", 4000);
}

#[test]
fn external() {
    target("external", 2000);
}

#[test]
fn archive() {
    target("archive", 4000);
}

#[test]
fn hdf5() {
    target("hdf5", 2000);
}

#[test]
fn keras() {
    target("keras", 600);
}

#[test]
fn pt2() {
    target("pt2", 1000);
}

/// The fuzzer's programs are those of the targets, and each has seeds.
#[test]
fn every_target_has_a_program() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let programs: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the programs")
        .map(|e| e.expect("a file").path())
        .map(|p| p.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    let targets: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(programs, targets);
}
