//! A target of `normfold-fuzz` as a program of libFuzzer.

pub use libfuzzer_sys;

use libfuzzer_sys::fuzzer_mutate;
use normfold_fuzz::{Random, Target};

/// The program for the target of that name.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        use $crate::libfuzzer_sys::{self, fuzz_mutator, fuzz_target};

        fuzz_target!(|data: &[u8]| ($crate::named($name).run)(data));
        fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::mutate($crate::named($name), data, size, max_size, seed)
        });
    };
}

/// The target of that name.
pub fn named(name: &str) -> Target {
    Target::named(name).unwrap_or_else(|| panic!("there is no target `{name}`"))
}

/// libFuzzer's own mutations once in four, else those that know the format.
pub fn mutate(target: Target, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed.into());
    if random.once_in(4) {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut bytes = data[..size].to_vec();
    (target.mutate)(&mut bytes, &mut random);
    if bytes.is_empty() || bytes.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}
