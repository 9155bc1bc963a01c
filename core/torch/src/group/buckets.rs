//! Many tensors moved as few: flat buckets of one dtype.

use tch::Tensor;

use crate::{Result, copy_all, no_grad};

/// The most bytes that are copied into one bucket; a larger tensor is one of its own.
pub const LARGEST_BUCKET: usize = 64 << 20;

/// Moves tensors through flat buckets, in their order within a dtype, and copies what comes back into them.
pub(super) fn through_buckets(
    tensors: &[Tensor],
    largest: usize,
    mut move_one: impl FnMut(&Tensor) -> Result<()>,
) -> Result<()> {
    let _guard = no_grad();
    for bucket in buckets(tensors, largest) {
        let parts = bucket.iter().map(|tensor| tensor.f_reshape([-1])).collect::<Result<Vec<_>, _>>()?;
        // A lone contiguous tensor moves in its own memory; `copy_all` would copy it onto itself.
        if let ([part], [tensor]) = (&*parts, &*bucket)
            && part.data_ptr() == tensor.data_ptr()
        {
            move_one(part)?;
            continue;
        }
        let flat = Tensor::f_cat(&parts, 0)?;
        move_one(&flat)?;
        let mut start = 0;
        let mut moved = Vec::with_capacity(bucket.len());
        for tensor in &bucket {
            let length = tensor.numel() as i64;
            moved.push(flat.f_narrow(0, start, length)?.f_view_as(tensor)?);
            start += length;
        }
        copy_all(&bucket, &moved)?;
    }
    Ok(())
}

/// Tensors of one dtype, up to `largest` bytes together; empty ones need no moving.
fn buckets(tensors: &[Tensor], largest: usize) -> Vec<Vec<Tensor>> {
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    let mut filled: Vec<(Vec<Tensor>, usize)> = Vec::new();
    for tensor in tensors.iter().filter(|tensor| tensor.numel() > 0) {
        let size = bytes(tensor);
        // The newest of its dtype is the one with room, if any has.
        match filled.iter_mut().rev().find(|(bucket, _)| bucket[0].kind() == tensor.kind()) {
            Some((bucket, full)) if *full + size <= largest => {
                bucket.push(tensor.shallow_clone());
                *full += size;
            }
            _ => filled.push((vec![tensor.shallow_clone()], size)),
        }
    }
    filled.into_iter().map(|(bucket, _)| bucket).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels_last;
    use tch::{Device, Kind};

    fn random(shape: &[i64], kind: Kind) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(kind)
    }

    #[test]
    fn tensors_of_a_dtype_move_together_up_to_the_largest_bucket_and_come_back_in_place() {
        let images = channels_last(&random(&[2, 3, 4, 4], Kind::Float)).expect("four dimensions");
        let tensors = [
            random(&[5], Kind::Float),
            random(&[2, 2], Kind::Double),
            random(&[], Kind::Float),
            random(&[0, 3], Kind::Float),
            random(&[3, 5], Kind::Float).transpose(0, 1),
            images,
            random(&[200], Kind::Float),
        ];
        let before: Vec<Tensor> = tensors.iter().map(Tensor::copy).collect();
        let mut lengths = Vec::new();
        through_buckets(&tensors, 500, |flat| {
            assert_eq!(flat.dim(), 1);
            lengths.push((flat.kind(), flat.numel()));
            drop(flat.shallow_clone().f_mul_scalar_(2.0)?);
            Ok(())
        })
        .expect("moves");
        // 5 + 1 + 15 + 96 float32 values are 468 bytes; 200 more need a bucket of their own.
        assert_eq!(lengths, [(Kind::Float, 117), (Kind::Double, 4), (Kind::Float, 200)]);
        for (tensor, before) in tensors.iter().zip(&before) {
            assert_eq!(*tensor, before * 2.0);
        }
    }
}
