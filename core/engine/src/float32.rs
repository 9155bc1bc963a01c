//! Numbers on their way to the device, which holds them in float32.

/// The end of what is wanted of a number.
pub(crate) const AT_MOST: &str = "of at most 3.4e38 in size, as float32 holds it";

/// Whether float32 holds this number, rounded.
pub(crate) fn holds(number: f64) -> bool {
    // The cast rounds; what rounds to infinity is too large.
    (number as f32).is_finite()
}

/// What a message says of a number that it does not hold.
pub(crate) fn refused(number: f64) -> String {
    format!("{number:?}, expected a finite number {AT_MOST}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float32_holds_its_largest_number_and_nothing_beyond() {
        let most = f64::from(f32::MAX);
        assert!([0.0, -1.5, most, -most, 1e-300].into_iter().all(holds));
        assert!([1e39, -1e39, 1e300, f64::INFINITY, f64::NAN].into_iter().all(|number| !holds(number)));
    }
}
