//! How many connections there may be: what the limit of open files allows, shared out.

/// The fewest open files with which a node can run at all.
pub const FEWEST_FILES: usize = 64;
/// What the process opens beside connections, once it runs: listeners, the runtime's own, a spare one, files.
const OWN: usize = 24;
/// Two links to each of the other 99 members of the largest cluster.
const MOST_LINKS: usize = 198;

/// How many connections there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// Of clients; those that come then are refused.
    pub clients: usize,
    /// Of operators, when there are as many clients as may be.
    pub operators: usize,
    /// At the port for peers, of those who have not said yet who they are.
    pub greetings: usize,
}

impl Places {
    /// Shares out `files` open files, of which `open` are open already, among at most `most_clients` clients and
    /// all others. None: there are too few.
    pub fn within(files: usize, open: usize, most_clients: usize) -> Option<Self> {
        if files < FEWEST_FILES {
            return None;
        }
        let operators = (files / 16).clamp(2, 16);
        let greetings = (files / 16).clamp(4, 64);
        let links = (files / 4).min(MOST_LINKS);
        let clients = files.checked_sub(open + OWN + operators + greetings + links)?;
        let clients = clients.min(most_clients);
        (clients > 0).then_some(Self { clients, operators, greetings })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_limit_of_open_files_and_nobody_goes_without() {
        for files in FEWEST_FILES..5_000 {
            let places = Places::within(files, 10, 10_000).expect("enough");
            let Places { clients, operators, greetings } = places;
            assert!(10 + OWN + clients + operators + greetings < files, "{files}: {places:?}");
            assert!(clients > 0 && operators > 0 && greetings > 0, "{files}: {places:?}");
        }
        assert_eq!(Places::within(FEWEST_FILES - 1, 3, 1), None);
        assert_eq!(Places::within(FEWEST_FILES, FEWEST_FILES, 1), None, "all are in use");
        assert_eq!(Places::within(1 << 20, 10, 10_000).unwrap().clients, 10_000);
    }
}
