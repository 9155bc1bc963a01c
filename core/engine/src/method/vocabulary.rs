//! The tensor vocabulary: operations over opaque tensors that methods, scripted mixers and scripted losses share.
//!
//! No operation has a data-dependent shape and none reads a value back to the host.

use admix_torch::{Kind, Tensor};

use super::cut::{chunk, first_rows, length, narrow, select, top_k};
use crate::{Error, Result};

/// What a verb takes at one place of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A tensor.
    Tensor,
    /// An array of tensors.
    Tensors,
    /// A number.
    Number,
    /// A tensor, or a number that stands for one.
    Value,
    /// A whole number that fixes the shape of the result: an axis, a size.
    Size,
    /// An array of such numbers.
    Sizes,
}

/// A verb of the vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// Its name in scripts.
    pub name: &'static str,
    /// Its arguments in order.
    pub takes: &'static [Takes],
    /// What it does.
    pub summary: &'static str,
}

const fn verb(name: &'static str, takes: &'static [Takes], summary: &'static str) -> Verb {
    Verb { name, takes, summary }
}

const T: Takes = Takes::Tensor;
const N: Takes = Takes::Number;
const V: Takes = Takes::Value;
const S: Takes = Takes::Size;

/// Every verb that is called by name; arithmetic, comparisons and logic are operators.
pub const VERBS: &[Verb] = &[
    verb("detach", &[T], "the same values without a graph"),
    verb("exp", &[T], "e to the power of each value"),
    verb("log", &[T], "natural logarithm of each value"),
    verb("sqrt", &[T], "square root of each value"),
    verb("abs", &[T], "absolute value"),
    verb("sign", &[T], "-1, 0 or 1"),
    verb("floor", &[T], "the next whole number below"),
    verb(
        "whole",
        &[T],
        "floor(a) as whole numbers: indices for `select` and `gather`; of a condition 0 and 1",
    ),
    verb("one_hot", &[T, S], "one_hot(labels, classes): [..., classes], 1 at the label and else 0"),
    verb("argmax", &[T, S], "where along an axis the largest value is: whole numbers, without that axis"),
    verb("arange", &[T, S], "arange(a, axis): 0, 1, 2, ... for the places of an axis: [size], whole numbers"),
    verb(
        "reverse_gradient",
        &[T],
        "the same values; what comes before it learns the opposite of what comes after it",
    ),
    verb("clamp", &[T, N, N], "clamp(a, low, high): no smaller and no larger than these numbers"),
    verb("relu", &[T], "max(x, 0)"),
    verb("sigmoid", &[T], "1 / (1 + exp(-x))"),
    verb("mean", &[T], "mean of all values"),
    verb("sum", &[T], "sum of all values"),
    verb("mean_over", &[T, S], "mean over one axis"),
    verb("sum_over", &[T, S], "sum over one axis"),
    verb("softmax", &[T, S], "softmax over one axis"),
    verb("log_softmax", &[T, S], "logarithm of the softmax over one axis"),
    verb("unit", &[T], "L2-normalised over axis 1, norm at least 1e-12"),
    verb("beta22", &[T], "numbers of the law Beta(2, 2) from numbers uniform in [0, 1)"),
    verb(
        "extend",
        &[T, T, T],
        "extend(a, b, u): feature extension, u a + (1 - u) b, L2-normalised over axis 1; outside of a and b where u > 1",
    ),
    verb("transpose", &[T, S, S], "two axes swapped"),
    verb("flatten", &[T], "all axes after the first become one"),
    verb("reshape", &[T, Takes::Sizes], "the same values in another shape; one size may be -1"),
    verb("narrow", &[T, S, S, S], "narrow(a, axis, start, length): a part of one axis"),
    verb(
        "chunk",
        &[T, S, S, S],
        "chunk(a, parts, index, axis): one of several equal parts of an axis, from 0",
    ),
    verb("first_rows", &[T, T], "first_rows(a, b): the first rows of a, as many as b has"),
    verb("top_k", &[T, S], "the k largest values of the last axis, largest first"),
    verb("top_k_indices", &[T, S], "where on the last axis the k largest values are"),
    verb("resize", &[T, S, S], "bilinear to (height, width), half-pixel centres"),
    verb("resize_nearest", &[T, S, S], "the nearest pixel, to (height, width)"),
    verb(
        "grid_sample",
        &[T, T],
        "grid_sample(a, grid): a [N, C, H, W] at places [N, h, w, 2], x and y from -1 to 1 at the outer edges; bilinear, 0 \
         outside",
    ),
    verb("resize_like", &[T, T], "bilinear to the height and width of the second"),
    verb("nearest_like", &[T, T], "the nearest pixel, to the height and width of the second"),
    verb("blur", &[T, S], "mean of the pixels in a square of this odd side, as many as lie in the image"),
    verb("rows", &[T], "0, 1, 2, ... down the rows of an image: [1, 1, H, 1], whole numbers"),
    verb("columns", &[T], "0, 1, 2, ... along the columns of an image: [1, 1, 1, W], whole numbers"),
    verb(
        "over_images",
        &[T],
        "one number as it is, [N] as [N, 1, 1, 1]: in a form that broadcasts over images",
    ),
    verb("zeros_like", &[T], "zeros of the same shape and kind"),
    verb("ones_like", &[T], "ones of the same shape and kind"),
    verb(
        "field",
        &[T, T],
        "field(key, like): numbers uniform in [0, 1) in the shape of `like`, from a drawn key",
    ),
    verb(
        "saliency",
        &[T],
        "of a gradient [N, C, H, W]: sqrt of the mean over channels of its squares, [N, H, W] in float32, without a graph",
    ),
    verb("matmul", &[T, T], "matrix product"),
    verb("select", &[T, T], "rows of the first at the indices of the second, [..., D] for indices [...]"),
    verb("gather", &[T, T, S], "values along one axis at the indices of the second"),
    verb(
        "sinkhorn",
        &[T, S],
        "sinkhorn(scores, rounds): codes [N, P] of samples that use all prototypes alike, from scores divided by epsilon; \
         without a graph",
    ),
    verb("minimum", &[V, V], "the smaller of two, element by element; one may be a number"),
    verb("maximum", &[V, V], "the larger of two, element by element; one may be a number"),
    verb(
        "where",
        &[T, V, V],
        "where(condition, a, b): a where the condition holds, else b; both may be numbers, and what is not 0 holds",
    ),
    verb("lerp", &[T, T, V], "lerp(a, b, weight): a + weight * (b - a); the weight may be a number"),
    verb("cat", &[Takes::Tensors, S], "an array of tensors joined along one axis"),
    verb("stack", &[Takes::Tensors, S], "an array of tensors stacked along a new axis"),
];

/// Operators of two tensors, or of a tensor and a number: how scripts write them, the operation, and the one for swapped sides.
pub const OPERATORS: [(&str, &str, &str); 11] = [
    ("+", "add", "add"),
    ("-", "sub", "rsub"),
    ("*", "mul", "mul"),
    ("/", "div", "rdiv"),
    ("<", "less", "greater"),
    (">", "greater", "less"),
    ("<=", "less_equal", "greater_equal"),
    (">=", "greater_equal", "less_equal"),
    ("==", "equal", "equal"),
    ("!=", "not_equal", "not_equal"),
    ("**", "pow", "pow"),
];
/// Operators of two tensors of conditions.
pub const CONNECTIVES: [(&str, &str); 2] = [("&", "and"), ("|", "or")];

/// Whether the result of a verb never has a graph.
pub fn without_graph(verb: &str) -> bool {
    const NONE: [&str; 22] = [
        "detach",
        "sign",
        "whole",
        "one_hot",
        "argmax",
        "arange",
        "sinkhorn",
        "saliency",
        "rows",
        "columns",
        "zeros_like",
        "ones_like",
        "field",
        "top_k_indices",
        "less",
        "greater",
        "less_equal",
        "greater_equal",
        "equal",
        "not_equal",
        "and",
        "or",
    ];
    NONE.contains(&verb) || verb == "not"
}

/// Float32, but float64 where the operand is: a loss of precision would show in a test by differences.
fn float_of(tensor: &Tensor) -> Kind {
    if tensor.kind() == Kind::Double { Kind::Double } else { Kind::Float }
}

fn extent(verb: &str, image: &Tensor, from_last: usize) -> Result<i64> {
    let size = image.size();
    let wanted = || Error::Input(format!("`{verb}` takes images [N, C, H, W], got the shape {size:?}"));
    if size.len() == 4 { size.get(4 - from_last).copied().ok_or_else(wanted) } else { Err(wanted()) }
}

/// The most values of a tensor that a script makes, 4 GiB in 32 bits: one that grows in a loop would take all memory.
const MOST_VALUES: i64 = 1 << 30;

/// How many values an operation makes that can make more than it is given, if it is known.
fn made(verb: &str, operands: &[&Tensor], sizes: &[i64]) -> i64 {
    let product = |sizes: &[i64]| sizes.iter().fold(1i64, |all, one| all.saturating_mul(*one));
    let size = |index: usize| sizes.get(index).copied().unwrap_or(0);
    match (verb, operands) {
        ("cat" | "stack", many) => many.iter().map(|one| one.numel() as i64).sum(),
        ("resize" | "resize_nearest", [image, ..]) if image.dim() == 4 => {
            product(&[product(&image.size()[..2]), size(0), size(1)])
        }
        ("one_hot", [labels, ..]) => product(&[labels.numel() as i64, size(0)]),
        ("matmul", [one, other]) if one.dim() > 1 && other.dim() > 1 => product(&[
            one.numel() as i64 / one.size().last().copied().unwrap_or(1).max(1),
            *other.size().last().unwrap_or(&1),
        ]),
        _ => {
            // Those that broadcast: from the last axis on, each the longest.
            let mut extents = Vec::new();
            for (back, extent) in operands.iter().flat_map(|one| one.size().into_iter().rev().enumerate()) {
                match extents.get_mut(back) {
                    Some(longest) => *longest = extent.max(*longest),
                    None => extents.push(extent),
                }
            }
            if sign(verb).is_some() { product(&extents) } else { 0 }
        }
    }
}

/// Applies an operation to tensors. A number of a method is a 0-dim tensor here, behind the other operands.
///
/// # Errors
/// Shapes that do not fit.
pub fn apply(verb: &str, operands: &[&Tensor], sizes: &[i64]) -> Result<Tensor> {
    // Where all operands together are small, so is the result.
    let bound = operands.iter().fold(1, |all: i64, one| all.saturating_mul(one.numel().max(1) as i64));
    let bound = sizes.iter().fold(bound, |all, size| all.saturating_mul((*size).max(1)));
    let values = if bound > MOST_VALUES { made(verb, operands, sizes) } else { 0 };
    if values > MOST_VALUES {
        return Err(Error::Input(format!(
            "`{verb}` makes a tensor of {values} values, expected at most {MOST_VALUES}"
        )));
    }
    match executed(verb, operands, sizes) {
        // What a device or the memory says has nothing to do with the operands.
        Err(Error::Torch(admix_torch::Error::Torch { message }))
            if !message.contains("CUDA") && !message.contains("not enough memory") =>
        {
            Err(Error::Input(unfit(verb, operands, sizes, &message)))
        }
        done => done,
    }
}

/// Why an operation cannot be done with these operands, in words of the script.
fn unfit(verb: &str, operands: &[&Tensor], sizes: &[i64], message: &str) -> String {
    let agree = |first: &[i64], second: &[i64]| {
        first
            .iter()
            .rev()
            .zip(second.iter().rev())
            .all(|(one, other)| one == other || *one == 1 || *other == 1)
    };
    if let (Some(sign), [first, second, ..]) = (sign(verb), operands)
        && !agree(&first.size(), &second.size())
    {
        let (first, second) = (first.size(), second.size());
        return format!(
            "`{sign}` takes shapes whose sizes are equal or 1 axis by axis, from the last one on: got {first:?} and {second:?}"
        );
    }
    let given: Vec<String> =
        operands.iter().map(|one| format!("{:?} of {:?}", one.size(), one.kind())).collect();
    let sizes = if sizes.is_empty() { String::new() } else { format!(" with the numbers {sizes:?}") };
    let wants_whole =
        ["select", "gather"].contains(&verb) && operands.last().is_some_and(|last| last.is_floating_point());
    let remedy = if wants_whole { "; `whole(...)` makes whole numbers of its index" } else { "" };
    format!("`{verb}` does not go with {}{sizes}: {message}{remedy}", given.join(" and "))
}

/// How scripts write an operation of two tensors that broadcast.
fn sign(verb: &str) -> Option<&'static str> {
    let as_it_is = OPERATORS.iter().map(|(sign, own, _)| (*sign, *own));
    let swapped = OPERATORS.iter().map(|(sign, _, own)| (*sign, *own));
    as_it_is.chain(CONNECTIVES).chain(swapped).find(|(_, own)| *own == verb).map(|(sign, _)| sign)
}

/// The kind of floats that holds the values of all, where libtorch does not widen by itself. 0-dim values take no part, as in
/// arithmetic.
fn widest<const N: usize>(operands: [&Tensor; N]) -> Option<Kind> {
    let kinds =
        || operands.iter().filter(|one| one.dim() > 0 && one.is_floating_point()).map(|one| one.kind());
    let first = kinds().next()?;
    let wider = |a: Kind, b: Kind| match (a, b) {
        (a, b) if a == b => a,
        (Kind::Double, _) | (_, Kind::Double) => Kind::Double,
        _ => Kind::Float,
    };
    Some(kinds().fold(first, wider))
}

fn wide(operand: &Tensor, kind: Option<Kind>) -> Result<Tensor> {
    Ok(match kind {
        Some(kind) if operand.is_floating_point() && operand.kind() != kind => operand.f_to_kind(kind)?,
        _ => operand.shallow_clone(),
    })
}

fn executed(verb: &str, operands: &[&Tensor], sizes: &[i64]) -> Result<Tensor> {
    let operand = |index: usize| -> Result<&Tensor> {
        operands
            .get(index)
            .copied()
            .ok_or_else(|| Error::Input(format!("`{verb}` lacks its argument {}", index + 1)))
    };
    let size = |index: usize| sizes.get(index).copied().unwrap_or(0);
    let first = operand(0)?;
    Ok(match verb {
        "add" => first.f_add(operand(1)?)?,
        "sub" => first.f_sub(operand(1)?)?,
        "rsub" => operand(1)?.f_sub(first)?,
        "mul" => first.f_mul(operand(1)?)?,
        "div" => first.f_div(operand(1)?)?,
        "rdiv" => operand(1)?.f_div(first)?,
        "pow" => first.f_pow(operand(1)?)?,
        "neg" => first.f_neg()?,
        "less" => first.f_lt_tensor(operand(1)?)?,
        "greater" => first.f_gt_tensor(operand(1)?)?,
        "less_equal" => first.f_le_tensor(operand(1)?)?,
        "greater_equal" => first.f_ge_tensor(operand(1)?)?,
        "equal" => first.f_eq_tensor(operand(1)?)?,
        "not_equal" => first.f_ne_tensor(operand(1)?)?,
        "and" => first.f_logical_and(operand(1)?)?,
        "or" => first.f_logical_or(operand(1)?)?,
        "not" => first.f_logical_not()?,
        "detach" => first.f_detach()?,
        "exp" => first.f_exp()?,
        "log" => first.f_log()?,
        "sqrt" => first.f_sqrt()?,
        "abs" => first.f_abs()?,
        "sign" => first.f_sign()?,
        "floor" => first.f_floor()?,
        "whole" if first.is_floating_point() => first.f_floor()?.f_to_kind(Kind::Int64)?,
        "whole" => first.f_to_kind(Kind::Int64)?,
        "one_hot" => one_hot(first, size(0))?,
        "argmax" => first.f_argmax(size(0), false)?,
        "arange" => Tensor::f_arange(length(&first.size(), size(0))?, (Kind::Int64, first.device()))?,
        "reverse_gradient" => first.f_detach()?.f_mul_scalar(2.0)?.f_sub(first)?,
        "clamp" => first.f_clamp_tensor(Some(operand(1)?), Some(operand(2)?))?,
        "relu" => first.f_relu()?,
        "sigmoid" => first.f_sigmoid()?,
        "mean" => first.f_mean(float_of(first))?,
        "sum" => first.f_sum(float_of(first))?,
        "mean_over" => first.f_mean_dim(size(0), false, float_of(first))?,
        "sum_over" => first.f_sum_dim_intlist(size(0), false, float_of(first))?,
        "softmax" => first.f_softmax(size(0), float_of(first))?,
        "log_softmax" => first.f_log_softmax(size(0), float_of(first))?,
        "unit" => admix_api::unit(first)?,
        "beta22" => admix_api::beta22(first)?,
        "extend" => admix_api::extend(first, operand(1)?, operand(2)?)?,
        "transpose" => first.f_transpose(size(0), size(1))?,
        "flatten" => first.f_flatten(1, -1)?,
        "resize" => first.f_upsample_bilinear2d([size(0), size(1)], false, None, None)?,
        "resize_nearest" => first.f_upsample_nearest2d([size(0), size(1)], None, None)?,
        "grid_sample" => grid_sample(first, operand(1)?)?,
        "resize_like" => {
            let like = operand(1)?;
            let to = [extent(verb, like, 2)?, extent(verb, like, 1)?];
            first.f_upsample_bilinear2d(to, false, None, None)?
        }
        "nearest_like" => {
            let like = operand(1)?;
            extent(verb, first, 1)?;
            let first = if first.is_floating_point() {
                first.shallow_clone()
            } else {
                first.f_to_kind(Kind::Float)?
            };
            first.f_upsample_nearest2d([extent(verb, like, 2)?, extent(verb, like, 1)?], None, None)?
        }
        "reshape" => first.f_reshape(sizes)?,
        "narrow" => narrow(first, size(0), size(1), size(2))?,
        "first_rows" => first_rows(first, operand(1)?)?,
        "chunk" => chunk(first, size(0), size(1), size(2))?,
        "top_k" => top_k(verb, first, size(0))?.0,
        "top_k_indices" => top_k(verb, first, size(0))?.1,
        "blur" => blur(first, size(0))?,
        "rows" => {
            let height = extent(verb, first, 2)?;
            Tensor::f_arange(height, (Kind::Int64, first.device()))?.f_reshape([1, 1, height, 1])?
        }
        "columns" => {
            let width = extent(verb, first, 1)?;
            Tensor::f_arange(width, (Kind::Int64, first.device()))?.f_reshape([1, 1, 1, width])?
        }
        "over_images" => over_images(first)?,
        "zeros_like" => first.f_zeros_like()?,
        "ones_like" => first.f_ones_like()?,
        "field" => field(first, operand(1)?)?,
        "saliency" => {
            extent(verb, first, 1)?;
            // Without a graph: at 0, where a root has no slope, one would give values that are not numbers.
            let squares = first.f_detach()?.f_to_kind(float_of(first))?.f_square()?;
            squares.f_mean_dim(1i64, false, None)?.f_sqrt()?
        }
        "lerp" => {
            let (other, weight) = (operand(1)?, operand(2)?);
            // Whole numbers, labels for one, are blended as floats.
            let kind = widest([first, other, weight]).unwrap_or(Kind::Float);
            first.f_to_kind(kind)?.f_lerp_tensor(&other.f_to_kind(kind)?, &weight.f_to_kind(kind)?)?
        }
        "matmul" => {
            let kind = widest([first, operand(1)?]);
            wide(first, kind)?.f_matmul(&wide(operand(1)?, kind)?)?
        }
        "select" => select(first, operand(1)?)?,
        "gather" => first.f_gather(size(0), operand(1)?, false)?,
        "sinkhorn" => admix_api::sinkhorn(first, size(0))?,
        "minimum" => first.f_minimum(operand(1)?)?,
        "maximum" => first.f_maximum(operand(1)?)?,
        "where" if first.kind() == Kind::Bool => operand(1)?.f_where_self(first, operand(2)?)?,
        "where" => operand(1)?.f_where_self(&first.f_ne(0)?, operand(2)?)?,
        "cat" => Tensor::f_cat(operands, size(0))?,
        "stack" => Tensor::f_stack(operands, size(0))?,
        other => return Err(Error::Input(format!("no operation named `{other}`"))),
    })
}

/// Without a look at the labels, which would wait for the device.
fn one_hot(labels: &Tensor, classes: i64) -> Result<Tensor> {
    if labels.is_floating_point() || classes < 1 {
        return Err(Error::Input(format!(
            "`one_hot` takes whole numbers and a number of classes from 1, got {:?} and {classes}",
            labels.kind()
        )));
    }
    let all = Tensor::f_arange(classes, (Kind::Int64, labels.device()))?;
    Ok(labels.f_unsqueeze(-1)?.f_eq_tensor(&all)?.f_to_kind(Kind::Float)?)
}

/// Values at places between the pixels; the edges of the image are at -1 and 1.
fn grid_sample(first: &Tensor, grid: &Tensor) -> Result<Tensor> {
    const BILINEAR: i64 = 0;
    const ZEROS: i64 = 0;
    let (image, places) = (first.size(), grid.size());
    match (&image[..], &places[..]) {
        ([n, ..], [m, _, _, 2]) if image.len() == 4 && n == m => {
            let grid = grid.f_to_kind(first.kind())?;
            Ok(first.f_grid_sampler(&grid, BILINEAR, ZEROS, false)?)
        }
        _ => Err(Error::Input(format!(
            "`grid_sample` takes images [N, C, H, W] and places [N, h, w, 2], got {image:?} and {places:?}"
        ))),
    }
}

/// The mean over squares of `side` pixels.
fn blur(first: &Tensor, side: i64) -> Result<Tensor> {
    if side < 1 || side % 2 == 0 {
        return Err(Error::Input(format!("`blur` takes an odd side from 1, got {side}")));
    }
    Ok(first.f_avg_pool2d([side, side], [1, 1], [side / 2, side / 2], false, false, None)?)
}

/// A number, or one for each image, in the form that multiplies images `[N, C, H, W]`.
fn over_images(first: &Tensor) -> Result<Tensor> {
    if first.dim() > 1 {
        return Err(Error::Input(format!(
            "`over_images` takes one number or one for each image, [N]; got the shape {:?}",
            first.size()
        )));
    }
    Ok(admix_api::over_images(first, first.kind())?)
}

/// Uniform numbers of the shape of `like`, made on the device from a key.
fn field(key: &Tensor, like: &Tensor) -> Result<Tensor> {
    if key.dim() != 0 || key.kind() != Kind::Int64 {
        return Err(Error::Input(format!(
            "the key of a `field` is one whole number that `plan` drew by `d.field_key()`, got {:?} of the shape {:?}",
            key.kind(),
            key.size()
        )));
    }
    Ok(admix_api::uniform_field(key, &like.size())?)
}

/// Applies an operation of a tensor and numbers that stay the same for good, as those of mixers and losses do.
///
/// # Errors
/// libtorch refused.
pub fn apply_numbers(verb: &str, first: &Tensor, numbers: &[f64]) -> Result<Tensor> {
    let number = numbers.first().copied().unwrap_or_default();
    Ok(match verb {
        "add" => first.f_add_scalar(number)?,
        "sub" => first.f_sub_scalar(number)?,
        "rsub" => first.f_rsub_scalar(number)?,
        "mul" => first.f_mul_scalar(number)?,
        "div" => first.f_div_scalar(number)?,
        "rdiv" => first.f_reciprocal()?.f_mul_scalar(number)?,
        "pow" => first.f_pow_tensor_scalar(number)?,
        "less" => first.f_lt(number)?,
        "greater" => first.f_gt(number)?,
        "less_equal" => first.f_le(number)?,
        "greater_equal" => first.f_ge(number)?,
        "equal" => first.f_eq(number)?,
        "not_equal" => first.f_ne(number)?,
        "clamp" => first.f_clamp(number, numbers.get(1).copied().unwrap_or(f64::INFINITY))?,
        other => return Err(Error::Input(format!("no operation named `{other}` with a number"))),
    })
}
