//! Parts of tensors by place, for the tensor vocabulary: how they are cut out, and the shape of what is left.

use admix_torch::Tensor;

use crate::{Error, Result};

/// The shape of the images that an operation makes of images, where it is known without executing it.
pub fn shape_of(verb: &str, images: &[Option<[i64; 4]>], sizes: &[i64]) -> Option<[i64; 4]> {
    let first = images.first().copied().flatten()?;
    let mut shape = first;
    let size = |index: usize| sizes.get(index).copied();
    let axis = size(if verb == "chunk" { 2 } else { 0 })?;
    let axis = usize::try_from(if axis < 0 { axis + 4 } else { axis }).ok()?;
    let length = shape.get_mut(axis)?;
    match verb {
        "cat" => *length = images.iter().map(|other| along((*other)?, first, axis)).sum::<Option<i64>>()?,
        "narrow" => *length = size(2)?,
        "chunk" => *length /= size(0).filter(|parts| *parts > 0)?,
        _ => return None,
    }
    Some(shape)
}

/// The size of an axis, which counts from -1 at the end.
///
/// # Errors
/// There is no such axis.
pub fn length(size: &[i64], axis: i64) -> Result<i64> {
    let at = if axis < 0 { axis + size.len() as i64 } else { axis };
    let there = usize::try_from(at).ok().and_then(|at| size.get(at).copied());
    there.ok_or_else(|| Error::Input(format!("there is no axis {axis} of the shape {size:?}")))
}

/// The length along an axis of images that agree with others along all other axes.
fn along(images: [i64; 4], mut others: [i64; 4], axis: usize) -> Option<i64> {
    others[axis] = images[axis];
    (images == others).then_some(images[axis])
}

/// The largest values of the last axis, and where they are.
pub fn top_k(verb: &str, first: &Tensor, k: i64) -> Result<(Tensor, Tensor)> {
    let there = first.size().last().copied().unwrap_or(0);
    if !(1..=there).contains(&k) {
        return Err(Error::Input(format!(
            "`{verb}` is asked for the {k} largest of {there} values; ask for 1 to {there}"
        )));
    }
    Ok(first.f_topk(k, -1, true, true)?)
}

/// A part of one axis, which may count from the end.
pub fn narrow(first: &Tensor, axis: i64, start: i64, length: i64) -> Result<Tensor> {
    let size = first.size();
    match self::length(&size, axis) {
        Ok(there) if start >= 0 && length >= 0 && start + length <= there => {
            Ok(first.f_narrow(axis, start, length)?)
        }
        _ => Err(Error::Input(format!(
            "`narrow` is asked for {length} places from {start} on along the axis {axis} of the shape {size:?}"
        ))),
    }
}

/// Rows at indices of any shape.
pub fn select(rows: &Tensor, indices: &Tensor) -> Result<Tensor> {
    if indices.dim() == 1 {
        return Ok(rows.f_index_select(0, indices)?);
    }
    let mut shape = indices.size();
    shape.extend(rows.size().into_iter().skip(1));
    Ok(rows.f_index_select(0, &indices.f_reshape([-1])?)?.f_reshape(shape)?)
}

/// The part `index` of `parts` equal ones along an axis, which may count from the end.
pub fn chunk(first: &Tensor, parts: i64, index: i64, axis: i64) -> Result<Tensor> {
    if parts < 1 || !(0..parts).contains(&index) {
        return Err(Error::Input(format!(
            "`chunk` is asked for the part {index} of {parts}; parts count from 0"
        )));
    }
    let size = first.size();
    match self::length(&size, axis) {
        Ok(length) if length % parts == 0 => {
            Ok(first.f_narrow(axis, index * (length / parts), length / parts)?)
        }
        _ => Err(Error::Input(format!(
            "`chunk` cannot cut the axis {axis} of {size:?} into {parts} equal parts"
        ))),
    }
}

/// The first rows of a tensor, as many as another one has.
pub fn first_rows(rows: &Tensor, like: &Tensor) -> Result<Tensor> {
    let (there, wanted) = (rows.size(), like.size());
    match (there.first(), wanted.first()) {
        (Some(there), Some(wanted)) if wanted <= there => Ok(rows.f_narrow(0, 0, *wanted)?),
        _ => Err(Error::Input(format!(
            "`first_rows` is asked for as many rows as {wanted:?} has, of the shape {there:?}"
        ))),
    }
}
