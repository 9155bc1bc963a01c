//! Random fields made on the device: many numbers from one key, by integer arithmetic alone.
//!
//! The host draws a key for each step (`Draws::field_key`); the field is a pure function of key, position and
//! nothing else. So every device makes the same bits, a captured step stays right when its key slot is refilled,
//! and no global generator is touched.

use admix_torch::{Kind, Tensor};

use crate::Result;

const LOW_32_BITS: i64 = 0xffff_ffff;

/// Numbers uniform in [0, 1), 24 bits each, of this shape, on the key's device; float32.
///
/// `key` is 0-dim int64, as drawn by `Draws::field_key`.
///
/// # Errors
/// libtorch refused.
pub fn uniform_field(key: &Tensor, shape: &[i64]) -> Result<Tensor> {
    let count: i64 = shape.iter().product();
    let position = Tensor::f_arange(count, (Kind::Int64, key.device()))?;
    // Two words of the key enter at two depths, so that two keys never give one set of bits in another order.
    let outer = scramble(&key.f_add_scalar(0x9e37_79b9i64)?.f_bitwise_and(LOW_32_BITS)?)?;
    let inner = scramble(&outer.f_bitwise_xor(0x5851_f42di64)?)?;
    let bits = scramble(&position.f_bitwise_xor_tensor(&outer)?)?;
    let bits = scramble(&bits.f_bitwise_xor_tensor(&inner)?)?;
    let top = bits.f_bitwise_right_shift_tensor_scalar(8)?;
    Ok(top.f_to_kind(Kind::Float)?.f_mul_scalar((-24f64).exp2())?.f_reshape(shape)?)
}

/// A bijection of 32-bit words held in int64 (multiply, xor-shift; constants of C. Wellons' `lowbias32`).
fn scramble(word: &Tensor) -> Result<Tensor> {
    let word = multiplied(&shifted(word, 16)?, 0x7feb_352d)?;
    // The second factor is taken modulo 2^32 as a negative number: no product leaves the range of int64.
    let word = multiplied(&shifted(&word, 15)?, 0x846c_a68b - (1 << 32))?;
    shifted(&word, 16)
}

fn shifted(word: &Tensor, by: i64) -> Result<Tensor> {
    Ok(word.f_bitwise_xor_tensor(&word.f_bitwise_right_shift_tensor_scalar(by)?)?)
}

fn multiplied(word: &Tensor, by: i64) -> Result<Tensor> {
    Ok(word.f_mul_scalar(by)?.f_bitwise_and(LOW_32_BITS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: i64, shape: &[i64]) -> Tensor {
        uniform_field(&Tensor::from(key), shape).expect("a field")
    }

    fn correlation(a: &Tensor, b: &Tensor) -> f64 {
        let (a, b) = (a - a.mean(Kind::Float), b - b.mean(Kind::Float));
        let both = (&a * &b).mean(Kind::Double).double_value(&[]);
        both / (a.square().mean(Kind::Double) * b.square().mean(Kind::Double)).sqrt().double_value(&[])
    }

    #[test]
    fn a_field_is_uniform_and_its_neighbours_are_independent() {
        let n = 1 << 18;
        for key in [0, 1, 77, LOW_32_BITS] {
            let values = field(key, &[n]);
            let mean = values.mean(Kind::Double).double_value(&[]);
            let variance = values.var(false).double_value(&[]);
            // Five standard errors: 1/sqrt(12 n) = 0.00056, and sqrt(1/180 n) = 0.00015.
            assert!((mean - 0.5).abs() < 0.0028, "key {key}: mean {mean}");
            assert!((variance - 1.0 / 12.0).abs() < 0.0008, "key {key}: variance {variance}");
            assert!(values.min().double_value(&[]) >= 0.0 && values.max().double_value(&[]) < 1.0);
            for lag in [1, 2, 32, 1024] {
                let r = correlation(&values.narrow(0, 0, n - lag), &values.narrow(0, lag, n - lag));
                assert!(r.abs() < 0.01, "key {key}, lag {lag}: {r}");
            }
        }
    }

    #[test]
    fn fields_of_neighbouring_keys_are_unrelated_even_when_sorted() {
        let n = 1 << 16;
        let first = field(5, &[n]);
        for key in [4, 6, 7, 5 + (1 << 16), 5 + (1 << 31)] {
            let other = field(key, &[n]);
            assert!(correlation(&first, &other).abs() < 0.02, "key {key}");
            let sorted = |t: &Tensor| t.sort(0, false).0;
            assert!(!sorted(&first).equal(&sorted(&other)), "key {key}: the same numbers in another order");
        }
    }

    #[test]
    fn a_field_is_the_same_at_every_call_and_in_every_shape() {
        assert!(field(9, &[6, 1, 4, 4]).equal(&field(9, &[6, 1, 4, 4])));
        assert!(field(9, &[6, 16]).equal(&field(9, &[6, 1, 4, 4]).reshape([6, 16])));
        // Fixed for good: a change here would change every run with dropout.
        let first = field(1, &[3]) * f64::from(1 << 24);
        let bits: Vec<i64> = (0..3).map(|i| first.int64_value(&[i])).collect();
        assert_eq!(bits, expected_bits(1, 3));
    }

    /// The same function on host integers.
    fn expected_bits(key: u32, count: u32) -> Vec<i64> {
        fn scramble(mut word: u32) -> u32 {
            word ^= word >> 16;
            word = word.wrapping_mul(0x7feb_352d);
            word ^= word >> 15;
            word = word.wrapping_mul(0x846c_a68b);
            word ^ (word >> 16)
        }
        let outer = scramble(key.wrapping_add(0x9e37_79b9));
        let inner = scramble(outer ^ 0x5851_f42d);
        (0..count).map(|i| i64::from(scramble(scramble(i ^ outer) ^ inner) >> 8)).collect()
    }
}
