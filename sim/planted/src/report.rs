//! What people and programs are shown of the planted bugs.

use comfy_table::{ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Value, json};

use super::engine::{Engine, Found, MOST_SEEDS, Replay};

/// Half of the bugs that the simulation has to find may take it no more seeds than this: a simulation that
/// needs more has become blunt.
const MOST_MEDIAN_SEEDS: u64 = 20;

/// A table that is narrower has no room for where a bug was seen.
const WIDE: usize = 120;

/// How a bug fared.
pub struct Fate {
    /// The bug's name.
    pub id: String,
    /// What it does.
    pub title: String,
    /// Where it was seen.
    pub source: String,
    /// What came of it.
    pub came: Came,
    /// The properties, promises of models and tests that it may break.
    pub may_fail: Vec<String>,
    /// Why the path of the model that finds it is not replayed, where that is known.
    pub no_replay: Option<String>,
}

/// What came of a bug.
pub enum Came {
    /// What each engine said that must find it. None: nothing.
    Of(Vec<(Engine, Option<Found>)>),
    /// The design leaves no room for it: why.
    NoRoom(String),
}

impl Fate {
    /// Whether each engine that must find the bug did, and the paths that the model wrote replay, unless the
    /// patch says why they cannot.
    pub fn is_found(&self) -> bool {
        match &self.came {
            Came::Of(all) => {
                let is_known = self.no_replay.is_some();
                let counts =
                    |found: &Found| self.counts(found) && found.replays(&self.may_fail, is_known);
                all.iter().all(|(_, found)| found.as_ref().is_some_and(counts))
            }
            Came::NoRoom(_) => true,
        }
    }

    /// Whether what failed is what the bug may break.
    fn counts(&self, found: &Found) -> bool {
        found.is_among(&self.may_fail)
    }

    /// What an engine found of it, if that was asked: nothing, where something else failed.
    fn of(&self, wanted: Engine) -> Option<Option<&Found>> {
        match &self.came {
            Came::Of(all) => {
                let asked = all.iter().find(|(engine, _)| *engine == wanted);
                asked.map(|(_, found)| found.as_ref().filter(|found| self.counts(found)))
            }
            Came::NoRoom(_) => None,
        }
    }
}

/// The middle of the numbers of seeds that were needed.
fn median(fates: &[Fate]) -> Option<u64> {
    let found = fates.iter().filter_map(|fate| fate.of(Engine::Simulation)?);
    let mut seeds: Vec<u64> = found.filter_map(|found| found.seeds).collect();
    seeds.sort_unstable();
    // Of an even number of them, what lies between the two in the middle.
    let (low, high) = (seeds.get(seeds.len().checked_sub(1)? / 2)?, seeds.get(seeds.len() / 2)?);
    Some(low.midpoint(*high))
}

/// Whether every bug was found, and, where all were planted, soon enough; and that as a sentence.
pub fn verdict(fates: &[Fate], are_all: bool) -> (bool, String) {
    let lost: Vec<&str> =
        fates.iter().filter(|fate| !fate.is_found()).map(|fate| fate.id.as_str()).collect();
    match median(fates) {
        _ if !lost.is_empty() => (false, format!("not found: {}", lost.join(", "))),
        Some(median) if are_all && median > MOST_MEDIAN_SEEDS => (
            false,
            format!(
                "all were found, but the simulation needed too long: a median of {median} seeds, \
                 and no more than {MOST_MEDIAN_SEEDS} are allowed"
            ),
        ),
        _ => (true, "all were found".into()),
    }
}

/// One bug in one line, as it comes in.
pub fn line(fate: &Fate) -> String {
    let came = match &fate.came {
        Came::NoRoom(_) => "no room".to_string(),
        Came::Of(all) => {
            let each = all.iter().map(|(engine, found)| match found {
                Some(found) => {
                    format!("{}: {} after {}", engine.name(), what(fate, found), found.effort)
                }
                None => format!("{}: NOT FOUND", engine.name()),
            });
            each.collect::<Vec<_>>().join("; ")
        }
    };
    format!("{}: {came}", fate.id)
}

/// What failed, and whether that is the bug.
fn what(fate: &Fate, found: &Found) -> String {
    let what = found.what();
    match fate.counts(found) {
        true => what,
        false => format!("NOT FOUND, for {what} is not among {}", fate.may_fail.join(", ")),
    }
}

/// For people: a row for each bug and engine, and a line for each engine.
pub fn table(fates: &[Fate], are_all: bool, width: usize) -> String {
    let is_wide = width >= WIDE;
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    let cells = |mut all: Vec<String>| {
        if !is_wide {
            all.remove(2);
        }
        all
    };
    let header = ["bug", "what it does", "seen in", "engine", "what failed", "after", "s"];
    table.set_header(cells(header.map(str::to_string).into()));
    for fate in fates {
        let mut row = |engine: &str, what: String, effort: String, seconds: String| {
            let (id, title, source) = (fate.id.clone(), fate.title.clone(), fate.source.clone());
            table.add_row(cells(vec![id, title, source, engine.into(), what, effort, seconds]));
        };
        match &fate.came {
            Came::NoRoom(why) => row("-", format!("no room: {why}"), "-".into(), "-".into()),
            Came::Of(all) => {
                for (engine, found) in all {
                    let Some(found) = found else {
                        row(engine.name(), "NOT FOUND".into(), "-".into(), "-".into());
                        continue;
                    };
                    let what = what(fate, found) + &replay(found, fate.no_replay.as_deref());
                    row(engine.name(), what, found.effort.clone(), format!("{:.1}", found.seconds));
                }
            }
        }
    }
    let mut text = table.to_string();
    for engine in Engine::EVERY {
        text.push_str(&engine_line(fates, engine).unwrap_or_default());
    }
    text + "\nverdict: " + &verdict(fates, are_all).1
}

fn replay(found: &Found, known: Option<&str>) -> String {
    match (&found.replay, known) {
        (Replay::None, _) => String::new(),
        (Replay::As(property), _) => format!("; replays as {property}"),
        (Replay::Impossible(_), Some(why)) => format!("; no replay: {why}"),
        (Replay::Impossible(why), None) => format!("; NOT REPLAYED: {why}"),
    }
}

fn engine_line(fates: &[Fate], engine: Engine) -> Option<String> {
    let asked: Vec<Option<&Found>> = fates.iter().filter_map(|fate| fate.of(engine)).collect();
    if asked.is_empty() {
        return None;
    }
    let found = asked.iter().flatten().count();
    let mut line = format!("\n{}: {found} of {} found", engine.name(), asked.len());
    if let (Engine::Simulation, Some(median)) = (engine, median(fates)) {
        line += &format!(
            "; median of seeds {median}, which may be {MOST_MEDIAN_SEEDS}; none may need more than {MOST_SEEDS}"
        );
    }
    Some(line)
}

/// For programs.
pub fn json(fates: &[Fate], control: &[Engine], are_all: bool) -> Value {
    let bugs: Vec<Value> = fates.iter().map(fate_json).collect();
    let control: Vec<&str> = control.iter().map(|engine| engine.name()).collect();
    let (holds, verdict) = verdict(fates, are_all);
    json!({
        "bugs": bugs,
        "control": control,
        "median_seeds": median(fates),
        "most_median_seeds": MOST_MEDIAN_SEEDS,
        "most_seeds": MOST_SEEDS,
        "holds": holds,
        "verdict": verdict,
    })
}

fn fate_json(fate: &Fate) -> Value {
    let said = |(engine, found): &(Engine, Option<Found>)| match found {
        None => json!({ "engine": engine.name(), "found": false }),
        Some(found) => json!({
            "engine": engine.name(),
            "found": fate.counts(found),
            "what": found.what(),
            "effort": found.effort,
            "seeds": found.seeds,
            "seconds": found.seconds,
            "replays_as": match &found.replay {
                Replay::As(property) => Some(property),
                Replay::None | Replay::Impossible(_) => None,
            },
        }),
    };
    let (engines, why): (Vec<Value>, Option<&String>) = match &fate.came {
        Came::Of(all) => (all.iter().map(said).collect(), None),
        Came::NoRoom(why) => (Vec::new(), Some(why)),
    };
    json!({
        "id": fate.id, "title": fate.title, "source": fate.source, "may_fail": fate.may_fail,
        "engines": engines, "no_room": why, "no_replay": fate.no_replay,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(failed: &str, seeds: u64) -> Fate {
        let (failed, effort) = (failed.to_string(), format!("{seeds} seeds"));
        let (model, seeds, replay) = (None, Some(seeds), Replay::None);
        let found = Found { failed, model, effort, seeds, seconds: 0.0, replay };
        let came = Came::Of(vec![(Engine::Simulation, Some(found))]);
        let (id, title, source) = ("one".into(), "a mistake".into(), "our own".into());
        Fate { id, title, source, came, may_fail: vec!["P3".into()], no_replay: None }
    }

    #[test]
    fn a_failure_of_something_else_is_shown_and_is_not_the_bug() {
        let fates = [fate("P3", 4), fate("P0", 1)];
        assert!(fates[0].is_found() && !fates[1].is_found());
        assert_eq!(line(&fates[0]), "one: simulation: P3 after 4 seeds");
        assert!(line(&fates[1]).contains("NOT FOUND, for P0 is not among P3"));
        assert_eq!(median(&fates), Some(4));
        assert_eq!(verdict(&fates, true), (false, "not found: one".into()));
        let json = json(&fates, &[Engine::Simulation], true);
        assert_eq!(json["bugs"][1]["engines"][0]["found"], false);
        assert_eq!(json["bugs"][1]["engines"][0]["what"], "P0");
        assert_eq!((&json["holds"], &json["control"][0]), (&false.into(), &"simulation".into()));
    }

    #[test]
    fn a_median_of_too_many_seeds_is_an_error_where_all_were_planted() {
        let fates = [fate("P3", 1), fate("P3", 21), fate("P3", 22)];
        assert!(verdict(&fates, false).0);
        let (holds, why) = verdict(&fates, true);
        assert!(!holds && why.contains("a median of 21 seeds"), "{why}");
        assert!(verdict(&[fate("P3", 1), fate("P3", 20), fate("P3", 22)], true).0);
        assert_eq!(
            median(&[fate("P3", 1), fate("P3", 9), fate("P3", 20), fate("P3", 22)]),
            Some(14)
        );
        assert_eq!(median(&[]), None);
    }
}
