//! Gradients against central differences.

use admix_torch::{Tensor, no_grad};

const STEP: f64 = 1e-6;

/// Compares a gradient with central differences of `value` at up to 16 entries spread over the leaf, which is float64
/// and moved in place. No gradient counts as zero.
///
/// # Errors
/// The first entry where they differ, in words.
pub fn slopes_agree(
    leaf: &Tensor,
    gradient: Option<&Tensor>,
    value: &mut dyn FnMut() -> f64,
) -> Result<(), String> {
    let gradient = gradient.map(|gradient| gradient.reshape([-1]));
    let flat = leaf.detach().reshape([-1]);
    let count = flat.size()[0];
    let _no_graph = no_grad();
    for i in (0..count).step_by((count / 16).max(1) as usize) {
        let mut entry = flat.narrow(0, i, 1);
        let start = entry.double_value(&[0]);
        let mut at = |x: f64| {
            let _ = entry.fill_(x);
            value()
        };
        let slope = (at(start + STEP) - at(start - STEP)) / (2.0 * STEP);
        at(start);
        let found = gradient.as_ref().map_or(0.0, |gradient| gradient.double_value(&[i]));
        let gap = (found - slope).abs();
        if gap.is_nan() || gap > 1e-7 + 1e-5 * slope.abs() {
            return Err(format!("entry {i}: the gradient is {found}, the difference {slope}"));
        }
    }
    Ok(())
}
