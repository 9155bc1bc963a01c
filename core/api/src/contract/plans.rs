//! Promises about plans.

use super::bench::{Bench, Case, MISSING};
use super::ledger::Promise;
use super::watch::{Check, Seen, ensure};
use crate::{Per, Plan, Value};

const PLANNED: &str = "every batch can be planned";
/// Images with sides of other lengths may be refused.
const DIVISIBLE: i64 = 4;
/// Sizes of images that people have, beside those that are mixed.
const SIZES: [(i64, i64); 10] =
    [(20, 20), (28, 28), (24, 40), (96, 96), (100, 60), (224, 224), (7, 7), (33, 33), (30, 42), (31, 64)];
const ALIKE: &str = "images of one size are refused by every plan or by none";
const PURE: &str = "the same draws give the same plan";
const NAMES: &str = "plans keep their names";
const LAMBDAS: &str = "a plan's lambdas lie in [0, 1]";
const PARTNERS: &str = "a plan's partners lie in the batch";

const NONE: &str = "there was no plan to look at";
pub(super) const PROMISES: &[Promise] = &[
    (PLANNED, "it was not built"),
    (ALIKE, NONE),
    (PURE, NONE),
    (NAMES, NONE),
    (LAMBDAS, "no plan holds lambda"),
    (PARTNERS, "no plan holds partners"),
];

/// Steps whose plans are compared.
const STEPS: u64 = 20;

impl Bench<'_> {
    /// A plan that is fit to be mixed by.
    pub(super) fn plan(&mut self, per: Per, step: u64) -> Option<(Case, Plan)> {
        self.plan_of(self.case(per, step))
    }

    /// The same for any case.
    pub(super) fn plan_of(&mut self, case: Case) -> Option<(Case, Plan)> {
        let (case, plan, fit) = self.drawn(case)?;
        fit.then_some((case, plan))
    }

    /// A plan, and whether it is fit to be mixed by.
    fn drawn(&mut self, case: Case) -> Option<(Case, Plan, bool)> {
        let call = self.ask(&case);
        if let Some(seen) = refusal(&case, &call.outcome) {
            self.ledger.holds(MISSING, &case, || ensure(!seen.text.contains('\n'), || seen.text.clone()));
            return None;
        }
        let plan = self.took(PLANNED, &case, call)?;
        let n = self.batch.images.size()[0];
        // Both may be missing where more than pairs are mixed.
        let (mut lambdas, mut partners) = (true, true);
        if plan.value("lambda").is_ok() {
            lambdas = self.ledger.holds(LAMBDAS, &case, || lambdas_in_range(&plan, n));
        }
        if let Ok(value) = plan.value("partner") {
            partners = self.ledger.holds(PARTNERS, &case, || partners_in_batch(value, n));
        }
        Some((case, plan, lambdas && partners))
    }

    /// Plans of one step and of many.
    pub(super) fn planning(&mut self) {
        for per in [Per::Batch, Per::Sample] {
            let Some((case, first, _)) = self.drawn(self.case(per, 0)) else { continue };
            let again = self.ask(&case).outcome;
            self.ledger.holds(PURE, &case, || {
                let again = again?;
                ensure(first == again, || format!("{first:?}, then {again:?}"))
            });
            for step in 1..STEPS {
                let Some((case, other, _)) = self.drawn(self.case(per, step)) else { continue };
                self.ledger.holds(NAMES, &case, || fits(&first, &other));
            }
            if !self.batch.quiet {
                SIZES.into_iter().for_each(|size| self.sized(per, size));
            }
        }
    }

    /// Plans for images of one size. A run that begins with one must not end at the next.
    fn sized(&mut self, per: Per, (height, width): (i64, i64)) {
        let mut first = None;
        for step in 0..STEPS {
            let mut case = self.case(per, step);
            case.shape[2..].copy_from_slice(&[height, width]);
            let call = self.ask(&case);
            let refused = refusal(&case, &call.outcome).is_some();
            if !refused && self.took(PLANNED, &case, call).is_none() {
                return;
            }
            let before = *first.get_or_insert(refused);
            self.ledger.holds(ALIKE, &case, || {
                let told = |refused| if refused { "refused" } else { "planned" };
                ensure(refused == before, || format!("{}, and at step 0 {}", told(refused), told(before)))
            });
        }
    }
}

/// What a mixer says that refuses the size of its images, if it may.
fn refusal<'a>(case: &Case, outcome: &'a Result<Plan, Seen>) -> Option<&'a Seen> {
    let odd = case.shape[2..].iter().any(|side| side % DIVISIBLE != 0);
    outcome.as_ref().err().filter(|seen| seen.names_setting && odd)
}

fn lambdas_in_range(plan: &Plan, n: i64) -> Check {
    let lambdas = plan.lambdas(n as usize)?;
    ensure(lambdas.len() == n as usize, || format!("{} lambdas for {n} samples", lambdas.len()))?;
    match lambdas.iter().find(|lambda| !(0.0..=1.0).contains(*lambda)) {
        Some(lambda) => Err(format!("lambda is {lambda}").into()),
        None => Ok(()),
    }
}

fn partners_in_batch(value: &Value, n: i64) -> Check {
    let Value::Ints(partners) = value else {
        return Err(format!("partners are whole numbers, one for each sample, not {value:?}").into());
    };
    ensure(partners.len() == n as usize, || format!("{} partners for {n} samples", partners.len()))?;
    ensure(partners.iter().all(|partner| (0..n).contains(partner)), || {
        format!("partners {partners:?} of {n} samples")
    })
}

/// Whether the names are the same, and for one structure the shapes too: then one plan can be written over the other.
pub(super) fn fits(first: &Plan, other: &Plan) -> Result<(), Seen> {
    let names = |plan: &Plan| plan.values().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
    ensure(names(first) == names(other), || format!("{}, and at step 0 {}", names(other), names(first)))?;
    let form = |value: &Value| match value {
        Value::Float(_) => ("one number", 1),
        Value::Floats(each) => ("numbers", each.len()),
        Value::Int(_) => ("one whole number", 1),
        Value::Ints(each) => ("whole numbers", each.len()),
    };
    for ((name, one), (_, two)) in first.values().zip(other.values()) {
        ensure(form(one) == form(two) || first.structure != other.structure, || {
            format!("`{name}` is {two:?}, and at step 0 {one:?}: another form needs another `structure`")
        })?;
    }
    Ok(())
}
