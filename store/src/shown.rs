//! Whether what a client acted on was shown to them.

use std::collections::{HashMap, HashSet};

use ranking::events::Display;
use uuid::Uuid;

use crate::Acted;

/// Maximum number of impressions of one case to one user that are searched. A case is ranked a few times; one that was
/// ranked ten thousand times must not make each click on it cost as much.
pub(crate) const MOST_IMPRESSIONS: usize = 256;
/// Bytes of them.
const MOST_BYTES_OF_ONE: usize = 4 << 20;
/// Bytes of impressions that are looked through for all actions of a call together.
const MOST_BYTES: usize = 64 << 20;

/// Looks through impressions for those that actions are on.
pub(crate) struct Search<'a> {
    acted: &'a [Acted<'a>],
    found: Vec<bool>,
    /// Which of `acted` are in this case, by this user.
    by_user: HashMap<(Uuid, Uuid), Vec<usize>>,
    asked: Vec<(Uuid, Uuid)>,
    /// Impressions and their bytes.
    seen: HashMap<(Uuid, Uuid), (usize, usize)>,
    /// Cases of which there is more than was looked through.
    cut: HashSet<(Uuid, Uuid)>,
    bytes: usize,
}

impl<'a> Search<'a> {
    pub(crate) fn new(acted: &'a [Acted<'a>]) -> Search<'a> {
        let mut by_user: HashMap<(Uuid, Uuid), Vec<usize>> = HashMap::new();
        let mut asked = Vec::new();
        for (at, acted) in acted.iter().enumerate() {
            for (nth, user) in acted.users.into_iter().enumerate() {
                if nth == 1 && user == acted.users[0] {
                    continue;
                }
                let of = by_user.entry((acted.case_id, user)).or_insert_with(|| {
                    asked.push((acted.case_id, user));
                    Vec::new()
                });
                of.push(at);
            }
        }
        Search {
            found: vec![false; acted.len()],
            acted,
            by_user,
            asked,
            seen: HashMap::new(),
            cut: HashSet::new(),
            bytes: 0,
        }
    }

    /// Case and user of each impression that is wanted; of each at most one more than [`MOST_IMPRESSIONS`].
    pub(crate) fn asked(&self) -> &[(Uuid, Uuid)] {
        &self.asked
    }

    /// Takes an impression. `false`: no more is wanted.
    pub(crate) fn take(&mut self, case_id: Uuid, user_id: Uuid, payload: &str) -> bool {
        self.bytes += payload.len();
        let key = (case_id, user_id);
        let (seen, bytes) = self.seen.entry(key).or_default();
        (*seen, *bytes) = (*seen + 1, *bytes + payload.len());
        if *seen > MOST_IMPRESSIONS || *bytes > MOST_BYTES_OF_ONE {
            self.cut.insert(key);
        }
        if *bytes > MOST_BYTES_OF_ONE && *seen > 1 {
            // Unless others are asked as well, there is nothing more to look at.
            return self.goes_on();
        }
        // One that cannot be read shows nothing; the nightly run names it.
        if let Ok(display) = serde_json::from_str::<Display>(payload) {
            for &at in self.by_user.get(&key).into_iter().flatten() {
                self.found[at] |= display.shows(self.acted[at].action);
            }
        }
        self.goes_on()
    }

    /// Whether more is wanted.
    fn goes_on(&mut self) -> bool {
        if self.bytes > MOST_BYTES {
            self.cut.extend(&self.asked);
        }
        self.cut.len() < self.asked.len()
    }

    /// For each action whether it was shown; `None`: not in what was looked through, and that was not all.
    pub(crate) fn found(self) -> Vec<Option<bool>> {
        let each = self.acted.iter().zip(&self.found);
        each.map(|(acted, found)| match found {
            true => Some(true),
            false => {
                let cut = |user| self.cut.contains(&(acted.case_id, user));
                (!acted.users.into_iter().any(cut)).then_some(false)
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use ranking::events::{Action, ActionKind};

    use super::*;

    fn acted(case_id: Uuid, action: &Action) -> Acted<'_> {
        Acted {
            case_id,
            users: [Uuid::nil(); 2],
            action,
        }
    }

    #[test]
    fn large_impressions_are_looked_through_up_to_their_bytes_together() {
        let action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
        let [first, second] = [1, 2].map(Uuid::from_u128);
        let acted = [first, second].map(|case_id| acted(case_id, &action));
        let mut search = Search::new(&acted);
        let filler = "x".repeat(MOST_BYTES / 4);
        let payload = format!("{{\"request_id\": \"{first}\", \"lawyer_ids\": [\"{filler}\"]}}");
        let taken = (0..100)
            .take_while(|_| search.take(first, Uuid::nil(), &payload))
            .count();
        assert_eq!(taken, 3);
        assert_eq!(search.found(), [None, None], "of neither case all was seen");
    }

    #[test]
    fn large_impressions_of_one_case_are_looked_through_in_part_and_leave_room_for_the_others() {
        let action = Action::new(ActionKind::ClickProfile, "adv_1", 1);
        let [first, second] = [1, 2].map(Uuid::from_u128);
        let acted = [first, second].map(|case_id| acted(case_id, &action));
        let shows = |lawyer: &str| format!("{{\"request_id\": \"{first}\", \"lawyer_ids\": [\"{lawyer}\"]}}");
        let large = shows(&"x".repeat(MOST_BYTES_OF_ONE / 2));
        let mut search = Search::new(&acted);
        for _ in 0..3 {
            assert!(search.take(first, Uuid::nil(), &large));
        }
        // What comes behind them is not read, and the other case is.
        assert!(search.take(first, Uuid::nil(), &shows("adv_1")));
        assert!(search.take(second, Uuid::nil(), &shows("adv_1")));
        assert_eq!(search.found(), [None, Some(true)]);
        // Where nothing else is asked, no more is wanted.
        let mut search = Search::new(&acted[..1]);
        let taken = (0..100).take_while(|_| search.take(first, Uuid::nil(), &large)).count();
        assert_eq!(taken, 1, "the second was the last");
    }
}
