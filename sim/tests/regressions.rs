//! Every bug that an engine found is kept as a scenario, named after the mistake.

use std::{fs, path::Path};

use harness::story::story;
use sim::{run::run, scenario::Scenario, store::Store};

#[test]
fn scenarios_that_once_violated_a_property_hold_now() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::parse(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let verdict = run(&scenario, true);
        assert!(
            verdict.violation.is_none(),
            "{}\n{}",
            path.display(),
            story::<Store>(&scenario, &verdict, 100)
        );
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}
