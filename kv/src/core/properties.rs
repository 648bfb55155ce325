//! How property tests run, everywhere in this crate.

use proptest::prelude::ProptestConfig;

/// Tries that a failure is shrunk by at most. Unsaid, it is four times the number of cases.
const SHRINKS: u32 = 100_000;

/// Of so many cases, unless PROPTEST_CASES says otherwise.
///
/// A failure prints the least input that fails, and is kept as a test with a name. No file of seeds is
/// written: a seed stands for another input as soon as a strategy changes, and a folder that appears by itself
/// is not looked at.
pub fn cases(cases: u32) -> ProptestConfig {
    let max_shrink_iters = SHRINKS;
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Of the usual number of cases.
pub fn usual() -> ProptestConfig {
    cases(ProptestConfig::default().cases)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::{
        prelude::*,
        test_runner::{TestError, TestRunner},
    };

    use super::*;

    #[test]
    fn a_failure_of_few_cases_is_shrunk_to_its_end_and_leaves_no_file() {
        // The source that seeds would be written beside, as `proptest!` gives it.
        let config = ProptestConfig { source_file: Some(file!()), ..cases(24) };
        let numbers = prop::collection::vec(100_000u32..1_000_000, 40..60);
        let failed = TestRunner::new(config).run(&numbers, |numbers| {
            prop_assert!(numbers.iter().sum::<u32>() < 4_000_000);
            Ok(())
        });
        let Err(TestError::Fail(_, least)) = failed else { panic!("{failed:?}") };
        assert_eq!(least.len(), 40, "{least:?}");
        assert!(least.iter().all(|number| *number == 100_000), "{least:?}");
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert!(!package.join("proptest-regressions").exists());
    }
}
