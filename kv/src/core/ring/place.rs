//! Where one more token of a joining member does most good.
//!
//! A token takes over what is between it and the token before it, and behind that token what has
//! fewer than R other members on the way: the last owner of each of these slots loses it. So only
//! the part of one gap is a free choice, and the cost of that choice is a parabola: the best slot of
//! each gap is known without trying its slots.

use super::layout::Layout;

/// What is to be even, other than how many slots each member has as a replica.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    /// How many slots each member owns first: where clients that know the ring ask.
    pub firsts: f64,
    /// The distances between tokens. What a token takes is mostly whole gaps: where many are tiny,
    /// later members find nothing to take.
    pub gaps: f64,
}

/// The ring at the moment of a choice.
pub struct Choice<'a> {
    layout: &'a Layout,
    joiner: usize,
    depth: usize,
    weights: Weights,
    /// How many slots each member has too many as a replica; below 0, too few.
    excess: Vec<f64>,
    /// The same of slots that it owns first.
    excess_firsts: Vec<f64>,
    losers: Vec<Option<usize>>,
}

/// What a token takes behind the gap that it is in.
struct Behind {
    lost: Vec<f64>,
    losers: Vec<usize>,
    /// For each member, the gap for which it was met last.
    met: Vec<usize>,
}

impl<'a> Choice<'a> {
    /// A choice for the member `joiner`, which is to have `part` of its fair share with this token.
    /// `depth` is R, below the number of members.
    pub fn new(
        layout: &'a Layout,
        joiner: usize,
        depth: usize,
        part: f64,
        weights: Weights,
    ) -> Self {
        let excess = |depth: usize| {
            let fair = (layout.size() * depth) as f64 / layout.members() as f64;
            let mut excess: Vec<f64> =
                layout.shares(depth).into_iter().map(|share| share as f64 - fair).collect();
            excess[joiner] += fair * (1.0 - part);
            excess
        };
        let (excess, excess_firsts) = (excess(depth), excess(1));
        let losers = layout.losers(depth, joiner);
        Self { layout, joiner, depth, weights, excess, excess_firsts, losers }
    }

    /// The free slot that makes the cost least: one by which the joiner gains something, if there is
    /// any.
    pub fn best(&self) -> Option<usize> {
        let members = self.layout.members();
        let mut behind =
            Behind { lost: vec![0.0; members], losers: Vec::new(), met: vec![usize::MAX; members] };
        let mut best: Option<(bool, f64, usize)> = None;
        for gap in 0..self.layout.tokens().len() {
            if self.layout.gap(gap) < 2 {
                continue;
            }
            self.walk_back(gap, &mut behind);
            let gains = self.losers[gap].is_some() || !behind.losers.is_empty();
            if let Some((cost, slot)) = self.in_gap(gap, &behind)
                && best.is_none_or(|(gained, least, _)| (!gains, cost) < (!gained, least))
            {
                best = Some((gains, cost, slot));
            }
            for loser in behind.losers.drain(..) {
                behind.lost[loser] = 0.0;
            }
        }
        best.map(|(_, _, slot)| slot)
    }

    /// What a token in a gap takes from whom, without the gap itself.
    fn walk_back(&self, gap: usize, behind: &mut Behind) {
        let mut others = 0;
        let mut index = gap;
        for _ in 0..self.layout.tokens().len() {
            index = self.layout.before(index);
            let member = self.layout.tokens()[index].member;
            if member == self.joiner {
                return;
            }
            if behind.met[member] != gap {
                behind.met[member] = gap;
                others += 1;
            }
            if others == self.depth {
                return;
            }
            if let Some(loser) = self.losers[index] {
                if behind.lost[loser] == 0.0 {
                    behind.losers.push(loser);
                }
                behind.lost[loser] += self.layout.gap(index) as f64;
            }
        }
    }

    /// The best free slot of a gap, with the change of the cost: the sum of the squares of what each
    /// member has too many, as a replica and, weighted, as first owner, and of the gaps, weighted.
    fn in_gap(&self, gap: usize, behind: &Behind) -> Option<(f64, usize)> {
        let width = self.layout.gap(gap);
        let owner = self.layout.tokens()[gap].member;
        let loser = self.losers[gap];
        let gained: f64 = behind.losers.iter().map(|loser| behind.lost[*loser]).sum();
        let joiner = self.excess[self.joiner] + gained;
        // The cost of x slots of the gap is square * x² + linear * x + what does not depend on x.
        let (mut square, mut linear) =
            (2.0 * self.weights.gaps, -2.0 * self.weights.gaps * width as f64);
        if let Some(loser) = loser {
            square += 2.0;
            linear += 2.0 * (joiner - self.excess[loser] + behind.lost[loser]);
        }
        if owner != self.joiner {
            let difference = self.excess_firsts[self.joiner] - self.excess_firsts[owner];
            square += 2.0 * self.weights.firsts;
            linear += 2.0 * self.weights.firsts * difference;
        }
        let wish = if square > 0.0 { -linear / (2.0 * square) } else { width as f64 / 2.0 };
        let wish = wish.round().clamp(1.0, (width - 1) as f64) as usize;
        let from = self.layout.tokens()[self.layout.before(gap)].at;
        let steps = self.layout.free_near(from, wish, width)?;
        let x = steps as f64;
        let change = |excess: f64, by: f64| by * (2.0 * excess + by);
        let others: f64 = (behind.losers.iter())
            .map(|loser| change(self.excess[*loser], -behind.lost[*loser]))
            .sum();
        let cost = others + change(self.excess[self.joiner], gained) + x * (square * x + linear);
        Some((cost, (from + steps) % self.layout.size()))
    }
}
