//! Fewer faults that still fail: whoever looks for the cause has less to read.

use std::collections::BTreeSet;

use crate::plan::Plan;
use crate::world::{Outcome, run};

/// Runs of a world that looking for fewer faults may cost.
const MAX_RUNS: usize = 40;

/// Leaves out faults, one after the other, as long as the world still fails. Answers the numbers of the faults that remain.
#[must_use]
pub fn shrink(plan: &Plan, first: &Outcome) -> (BTreeSet<usize>, Outcome) {
    let mut keep: BTreeSet<usize> = (0..plan.faults.len()).collect();
    let mut failed = first.clone();
    for number in (0..plan.faults.len()).rev().take(MAX_RUNS) {
        let mut fewer = keep.clone();
        fewer.remove(&number);
        let outcome = run(&plan.with_faults(&fewer), false);
        if !outcome.wrong.is_empty() {
            (keep, failed) = (fewer, outcome);
        }
    }
    (keep, failed)
}
