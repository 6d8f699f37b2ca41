//! From decision trees to forks and turns.

use alloc::vec::Vec;

use crate::Model;
use crate::fast::conditions::Conditions;
use crate::fast::sizes::bytes::{AT_ONCE, BYTES, MAX_EDGES, MAX_LEAVES, MAX_RANKS, ROWS, STRANDS};
use crate::fast::sizes::{GROUP, put, put_floats, table_size};
use crate::model::{Child, Tree};

/// The tables of this kernel, as bytes; all are empty where it does not fit the model.
#[derive(Default)]
pub(crate) struct Turns {
    /// Of eight trees: forks, turns, logarithm of the number of values of each tree, 0, and what the trees result in, as
    /// places among the items: u32 each.
    pub groups: Vec<u8>,
    /// Ranks (u16), number that is above the ranks of a row that turns off (u16), and what hangs off there (u32), or of
    /// a fork its left leaf: places among ranks and items in bytes. A group's forks and then its turns, in whole
    /// [`AT_ONCE`]s.
    pub turns: Vec<u8>,
    /// f64, by the number of the leaf.
    pub values: Vec<u8>,
}

/// Which vector of ranks, and what is above them where the answer is yes.
type Answer = (u32, i8);

/// Ranks are 128 less than they are, so that they are compared as signed numbers, and none is 127.
const ALWAYS: Answer = (0, 127);
/// A turn that is never taken, a fork to number 0.
const NOTHING: [u32; 2] = record((0, -128), 0);

const fn record((ranks, above): Answer, item: u32) -> [u32; 2] {
    let rows = ROWS as u32;
    [(ranks * rows) | ((above as u8 as u32 * rows) << 16), item * rows]
}

/// The tables, if ranks and leaves fit bytes.
pub(crate) fn pack(model: &Model, conditions: &Conditions) -> Option<Turns> {
    let columns = &conditions.columns;
    let sets: usize = conditions.categories.iter().map(|column| column.members.len()).sum();
    let fits = 2 * (columns.len() + sets) <= MAX_RANKS
        && columns.iter().all(|column| column.edges.len() <= MAX_EDGES)
        && model.trees.iter().all(|tree| tree.leaf_values.len() <= MAX_LEAVES);
    if !fits {
        return None;
    }
    // Where the ranks of each question are, and the last rank that goes left.
    let edges = columns.iter().map(|column| column.edges.len());
    let mut questions = Vec::new();
    for (at, edges) in edges.chain((0..sets).map(|_| 1)).enumerate() {
        questions.extend((0..edges).map(|rank| (at as u32, rank as u32)));
    }
    let question = |tree: &Tree, split: u32| {
        let number = conditions.number(tree, &tree.splits[split as usize]);
        questions[number as usize]
    };
    let mut tables = Turns::default();
    for trees in model.trees.chunks(GROUP) {
        tables.group(trees, &question);
    }
    Some(tables)
}

impl Turns {
    fn group(&mut self, trees: &[Tree], question: &impl Fn(&Tree, u32) -> (u32, u32)) {
        let mut forks = Vec::new();
        let plans: Vec<Plan> = trees
            .iter()
            .map(|tree| Plan::new(tree, |split, left| answer(question(tree, split), left), &mut forks))
            .collect();
        forks.resize(forks.len().next_multiple_of(AT_ONCE), NOTHING);
        let mut strands: [Strand; STRANDS] = core::array::from_fn(|number| Strand {
            first: BYTES + forks.len() + number,
            turns: Vec::new(),
        });
        let mut ends = [0; GROUP];
        for (at, plan) in plans.iter().enumerate() {
            let answer = |split, left| answer(question(plan.tree, split), left);
            ends[at] = ROWS as u32 * strands[at % STRANDS].tree(plan, &answer);
        }
        let longest = strands.iter().map(|strand| strand.turns.len()).max().unwrap_or(0);
        let longest = longest.next_multiple_of(AT_ONCE / STRANDS);
        let size = table_size(plans.iter().map(|plan| plan.values.len()).max().unwrap_or(1));
        let numbers = [forks.len(), longest * STRANDS, size.ilog2() as usize, 0];
        put(&mut self.groups, &numbers.map(|number| number as u32));
        put(&mut self.groups, &ends);
        put(&mut self.turns, forks.as_flattened());
        for at in 0..longest {
            for strand in &strands {
                put(&mut self.turns, strand.turns.get(at).unwrap_or(&NOTHING));
            }
        }
        // Groups are full: what stands in adds +0.0, which changes nothing.
        for at in 0..GROUP {
            let mut values = plans.get(at).map_or(Vec::new(), |plan| plan.values.clone());
            values.resize(size, 0.0);
            put_floats(&mut self.values, &values);
        }
    }
}

/// The answer that is yes for rows that go left, or right: left where the rank is at most `last`. Complements lie behind
/// the ranks.
fn answer((ranks, last): (u32, u32), left: bool) -> Answer {
    if left {
        (2 * ranks, (last as i32 - 127) as i8)
    } else {
        (2 * ranks + 1, (127 - last as i32) as i8)
    }
}

/// What is known of a tree before its turns are listed.
struct Plan<'a> {
    tree: &'a Tree,
    /// The leaves below each split.
    below: Vec<u32>,
    /// Where each split's result lies, if it is a fork.
    forks: Vec<Option<u32>>,
    /// The number of each leaf, and its value by that.
    numbers: Vec<u32>,
    values: Vec<f64>,
}

impl Plan<'_> {
    /// Numbers the leaves, those of forks in pairs, and adds the forks to the group's.
    fn new<'a>(tree: &'a Tree, answer: impl Fn(u32, bool) -> Answer, forks: &mut Vec<[u32; 2]>) -> Plan<'a> {
        let mut plan = Plan {
            tree,
            below: leaves_below(tree),
            forks: Vec::new(),
            numbers: alloc::vec![u32::MAX; tree.leaf_values.len()],
            values: Vec::new(),
        };
        for (number, split) in tree.splits.iter().enumerate() {
            let fork = match (split.left, split.right) {
                (Child::Leaf(left), Child::Leaf(right)) => {
                    forks.push(record(answer(number as u32, false), plan.values.len() as u32));
                    plan.number(left);
                    plan.number(right);
                    Some((BYTES + forks.len() - 1) as u32)
                }
                _ => None,
            };
            plan.forks.push(fork);
        }
        (0..tree.leaf_values.len() as u32).for_each(|leaf| plan.number(leaf));
        plan
    }

    fn number(&mut self, leaf: u32) {
        let number = &mut self.numbers[leaf as usize];
        if *number == u32::MAX {
            *number = self.values.len() as u32;
            self.values.push(self.tree.leaf_values[leaf as usize]);
        }
    }

    fn below(&self, child: Child) -> u32 {
        match child {
            Child::Leaf(_) => 1,
            Child::Split(number) => self.below[number as usize],
        }
    }
}

fn leaves_below(tree: &Tree) -> Vec<u32> {
    let mut order: Vec<usize> = if tree.splits.is_empty() {
        Vec::new()
    } else {
        alloc::vec![0]
    };
    let mut at = 0;
    while at < order.len() {
        let split = &tree.splits[order[at]];
        for child in [split.left, split.right] {
            if let Child::Split(number) = child {
                order.push(number as usize);
            }
        }
        at += 1;
    }
    let mut below = alloc::vec![0; tree.splits.len()];
    for &number in order.iter().rev() {
        let split = &tree.splits[number];
        let leaves = [split.left, split.right].map(|child| match child {
            Child::Leaf(_) => 1,
            Child::Split(number) => below[number as usize],
        });
        below[number] = leaves[0] + leaves[1];
    }
    below
}

/// Turns that follow each other, every [`STRANDS`]th of a group, while they are listed.
struct Strand {
    /// Where the first one's result lies.
    first: usize,
    turns: Vec<[u32; 2]>,
}

impl Strand {
    /// Lists a turn. Gives the place of its result.
    fn put(&mut self, answer: Answer, item: u32) -> u32 {
        self.turns.push(record(answer, item));
        (self.first + (self.turns.len() - 1) * STRANDS) as u32
    }

    /// Lists a tree. Gives the place of its result.
    fn tree(&mut self, plan: &Plan, answer: &impl Fn(u32, bool) -> Answer) -> u32 {
        if plan.tree.splits.is_empty() {
            self.put(ALWAYS, 0)
        } else {
            self.path(plan, answer, 0)
        }
    }

    /// Lists the path from a split on, after what hangs off it, which has half of the leaves at most.
    fn path(&mut self, plan: &Plan, answer: &impl Fn(u32, bool) -> Answer, first: u32) -> u32 {
        let mut turns = Vec::new();
        let mut at = first;
        let fork = loop {
            if let Some(fork) = plan.forks[at as usize] {
                break fork;
            }
            let split = &plan.tree.splits[at as usize];
            let left = plan.below(split.left) < plan.below(split.right);
            let (on, off) = if left {
                (split.right, split.left)
            } else {
                (split.left, split.right)
            };
            let item = match off {
                Child::Leaf(leaf) => plan.numbers[leaf as usize],
                Child::Split(number) => self.path(plan, answer, number),
            };
            turns.push((answer(at, left), item));
            at = match on {
                Child::Split(number) => number,
                Child::Leaf(_) => unreachable!("what is no fork has more leaves on one side than one"),
            };
        };
        if turns.is_empty() {
            return fork;
        }
        let mut place = self.put(ALWAYS, fork);
        for (answer, item) in turns.into_iter().rev() {
            place = self.put(answer, item);
        }
        place
    }
}
