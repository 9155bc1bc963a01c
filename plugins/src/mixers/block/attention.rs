//! The attention of the Mix Block.

use admix_api::prelude::*;

/// The softmax matrix A `[N, query, key]` of queries and keys `[N, width, h, w]`:
/// softmax over keys of q k / sqrt(width) (AMix paper, Eq. 5, with N(., .) = sqrt(C/2) as in the authors' code).
/// A token is a position, row by row. Float32 or better.
pub(super) fn weights(query: &Tensor, key: &Tensor) -> Result<Tensor> {
    let width = query.size()[1] as f64;
    // Scaling the queries costs less than scaling the much larger product.
    let query = query.f_mul_scalar(width.powf(-0.5))?.f_flatten(2, 3)?.f_transpose(1, 2)?;
    Ok(query.f_bmm(&key.f_flatten(2, 3)?)?.f_softmax(-1, None)?)
}

/// A times the values `[N, 1, h, w]`, as maps `[N, 1, h, w]`.
pub(super) fn attend(weights: &Tensor, value: &Tensor) -> Result<Tensor> {
    let column = value.f_flatten(2, 3)?.f_transpose(1, 2)?; // [N, h w, 1]
    Ok(weights.f_bmm(&column)?.f_reshape(value.size())?)
}
