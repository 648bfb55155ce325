//! What people and programs are shown of the planted bugs.

use comfy_table::{ContentArrangement, Table, presets::UTF8_BORDERS_ONLY};
use serde_json::{Value, json};

use super::engine::{Engine, Found, MOST_SEEDS, Replay};

/// The table's width, in characters: its texts are long.
const WIDTH: u16 = 140;

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
    /// Why the way of the model that finds it is not replayed, where that is known.
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
    /// Whether each engine that must find the bug did, and the ways that the model wrote replay, unless the
    /// patch says why they cannot.
    pub fn is_found(&self) -> bool {
        match &self.came {
            Came::Of(all) => {
                let is_known = self.no_replay.is_some();
                let replays = |found: &Found| found.replays(is_known);
                all.iter().all(|(_, found)| found.as_ref().is_some_and(replays))
            }
            Came::NoRoom(_) => true,
        }
    }

    fn of(&self, wanted: Engine) -> Option<Option<&Found>> {
        match &self.came {
            Came::Of(all) => {
                let asked = all.iter().find(|(engine, _)| *engine == wanted);
                asked.map(|(_, found)| found.as_ref())
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
    seeds.get(seeds.len() / 2).copied()
}

/// One bug in one line, as it comes in.
pub fn line(fate: &Fate) -> String {
    let came = match &fate.came {
        Came::NoRoom(_) => "no room".to_string(),
        Came::Of(all) => {
            let each = all.iter().map(|(engine, found)| match found {
                Some(found) => format!("{}: {} after {}", engine.name(), found.what, found.effort),
                None => format!("{}: NOT FOUND", engine.name()),
            });
            each.collect::<Vec<_>>().join("; ")
        }
    };
    format!("{}: {came}", fate.id)
}

/// For people: a row for each bug and engine, and a line for each engine.
pub fn table(fates: &[Fate]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(["bug", "what it does", "seen in", "engine", "what fell", "after", "s"]);
    for fate in fates {
        let mut row = |engine: &str, what: String, effort: String, seconds: String| {
            let (id, title, source) = (fate.id.clone(), fate.title.clone(), fate.source.clone());
            table.add_row([id, title, source, engine.into(), what, effort, seconds]);
        };
        match &fate.came {
            Came::NoRoom(why) => row("-", format!("no room: {why}"), "-".into(), "-".into()),
            Came::Of(all) => {
                for (engine, found) in all {
                    let Some(found) = found else {
                        row(engine.name(), "NOT FOUND".into(), "-".into(), "-".into());
                        continue;
                    };
                    let what = found.what.clone() + &replay(found, fate.no_replay.as_deref());
                    row(engine.name(), what, found.effort.clone(), format!("{:.1}", found.seconds));
                }
            }
        }
    }
    let mut text = table.to_string();
    for engine in Engine::EVERY {
        text.push_str(&engine_line(fates, engine).unwrap_or_default());
    }
    text
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
        line += &format!("; median of seeds {median}, none may need more than {MOST_SEEDS}");
    }
    Some(line)
}

/// For programs.
pub fn json(fates: &[Fate]) -> Value {
    let bugs: Vec<Value> = fates.iter().map(fate_json).collect();
    json!({ "bugs": bugs, "median_seeds": median(fates), "most_seeds": MOST_SEEDS })
}

fn fate_json(fate: &Fate) -> Value {
    let said = |(engine, found): &(Engine, Option<Found>)| match found {
        None => json!({ "engine": engine.name(), "found": false }),
        Some(found) => json!({
            "engine": engine.name(),
            "found": true,
            "what": found.what,
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
        "id": fate.id, "title": fate.title, "source": fate.source,
        "engines": engines, "no_room": why, "no_replay": fate.no_replay,
    })
}
