//! Properties of random inputs, tried on the same ones in every run.

use arbtest::{arbitrary, arbtest};

/// Bytes of randomness that the first and the largest inputs get.
const SIZES: (u64, u64) = (32, 65_536);

/// Tries a property on `cases` inputs, which are the same in every run, so that a change fails for its own sake. With
/// `ARBTEST_BUDGET_MS` in the environment it goes on for that long with inputs that nobody has seen.
///
/// A failure prints its seed; `ARBTEST_SEED` shows it again.
///
/// # Panics
/// The property does.
pub fn holds<P>(cases: u64, mut property: P)
where
    P: FnMut(&mut arbitrary::Unstructured<'_>) -> arbitrary::Result<()>,
{
    if std::env::var_os("ARBTEST_SEED").is_some() {
        arbtest(property).run();
        return;
    }
    let mut size = SIZES.0;
    let mut fitting = 0;
    for case in 0..cases {
        // Seeds are a size and what the bytes follow from.
        let from = (case + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let too_small = |u: &mut arbitrary::Unstructured<'_>| {
            fitting += u64::from(property(u).is_ok());
            Ok(())
        };
        arbtest(too_small).seed(from << 32 | size).run();
        if case % 3 == 2 {
            size = (size * 5 / 4).min(SIZES.1);
        }
    }
    assert!(fitting * 2 > cases, "{fitting} inputs of {cases} had bytes enough");
    if std::env::var_os("ARBTEST_BUDGET_MS").is_some() {
        arbtest(property).run();
    }
}
