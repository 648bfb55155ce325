//! What a fallen run tells.

use sim::{
    check::Violation,
    run::run,
    story::story,
    swarm::{self, Fixed},
};

#[test]
fn the_story_names_property_seed_and_key_and_marks_the_operations() {
    let scenario = swarm::scenario(0, &Fixed::default());
    let mut verdict = run(&scenario, true);
    let (place, done) = verdict
        .history
        .iter()
        .enumerate()
        .find(|(_, done)| done.version().is_some())
        .expect("some operation succeeds");
    let key = done.action.key().to_string();
    verdict.violation = Some(Violation::new("P3", "as if").shown_by(&key, &[place]));
    let text = story(&scenario, &verdict);
    assert!(text.starts_with("seed 0: "), "{text}");
    assert!(text.ends_with(&format!("P3: as if (key {key:?})\n")), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("> ")).count(), 1, "{text}");
    assert!(text.contains("the key's last messages"), "{text}");
}
