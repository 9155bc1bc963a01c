//! The tensor vocabulary: operations over opaque tensors that methods, scripted mixers and scripted losses share.
//!
//! No operation has a data-dependent shape and none reads a value back to the host.

use admix_torch::{Kind, Tensor};

use crate::{Error, Result};

/// A verb of the vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct Verb {
    /// Its name in scripts.
    pub name: &'static str,
    /// How many tensors it takes; `None` for an array of them.
    pub tensors: Option<usize>,
    /// How many whole numbers (axes, sizes) follow.
    pub sizes: usize,
    /// What it does.
    pub summary: &'static str,
}

const fn verb(name: &'static str, tensors: usize, sizes: usize, summary: &'static str) -> Verb {
    Verb { name, tensors: Some(tensors), sizes, summary }
}

/// Every verb that is called by name; arithmetic and comparisons are operators.
pub const VERBS: &[Verb] = &[
    verb("detach", 1, 0, "the same values without a graph"),
    verb("exp", 1, 0, "e to the power of each value"),
    verb("log", 1, 0, "natural logarithm of each value"),
    verb("sqrt", 1, 0, "square root of each value"),
    verb("abs", 1, 0, "absolute value"),
    verb("relu", 1, 0, "max(x, 0)"),
    verb("sigmoid", 1, 0, "1 / (1 + exp(-x))"),
    verb("mean", 1, 0, "mean of all values"),
    verb("sum", 1, 0, "sum of all values"),
    verb("mean_over", 1, 1, "mean over one axis"),
    verb("sum_over", 1, 1, "sum over one axis"),
    verb("softmax", 1, 1, "softmax over one axis"),
    verb("log_softmax", 1, 1, "logarithm of the softmax over one axis"),
    verb("unit", 1, 0, "L2-normalised over axis 1, norm at least 1e-12"),
    verb("transpose", 1, 2, "two axes swapped"),
    verb("flatten", 1, 0, "all axes after the first become one"),
    verb("resize", 1, 2, "bilinear to (height, width), half-pixel centres"),
    verb("matmul", 2, 0, "matrix product"),
    verb("select", 2, 0, "rows of the first at the indices of the second"),
    verb("gather", 2, 1, "values along one axis at the indices of the second"),
    verb("minimum", 2, 0, "the smaller of two, element by element"),
    verb("maximum", 2, 0, "the larger of two, element by element"),
    verb("where", 3, 0, "where(condition, a, b)"),
    Verb { name: "cat", tensors: None, sizes: 1, summary: "an array of tensors joined along one axis" },
    Verb { name: "stack", tensors: None, sizes: 1, summary: "an array of tensors stacked along a new axis" },
];

/// Applies an operation. `numbers` are 0-dim tensors that stand for the script's numbers.
///
/// # Errors
/// Shapes that do not fit.
pub fn apply(verb: &str, tensors: &[Tensor], numbers: &[Tensor], sizes: &[i64]) -> Result<Tensor> {
    let operand = |index: usize| -> Result<&Tensor> {
        tensors
            .iter()
            .chain(numbers)
            .nth(index)
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
        "detach" => first.f_detach()?,
        "exp" => first.f_exp()?,
        "log" => first.f_log()?,
        "sqrt" => first.f_sqrt()?,
        "abs" => first.f_abs()?,
        "relu" => first.f_relu()?,
        "sigmoid" => first.f_sigmoid()?,
        "mean" => first.f_mean(Kind::Float)?,
        "sum" => first.f_sum(Kind::Float)?,
        "mean_over" => first.f_mean_dim(size(0), false, Kind::Float)?,
        "sum_over" => first.f_sum_dim_intlist(size(0), false, Kind::Float)?,
        "softmax" => first.f_softmax(size(0), Kind::Float)?,
        "log_softmax" => first.f_log_softmax(size(0), Kind::Float)?,
        "unit" => {
            let norm = first.f_norm_scalaropt_dim(2.0, 1i64, true)?.f_clamp_min(1e-12)?;
            first.f_div(&norm)?
        }
        "transpose" => first.f_transpose(size(0), size(1))?,
        "flatten" => first.f_flatten(1, -1)?,
        "resize" => first.f_upsample_bilinear2d([size(0), size(1)], false, None, None)?,
        "matmul" => first.f_matmul(operand(1)?)?,
        "select" => first.f_index_select(0, operand(1)?)?,
        "gather" => first.f_gather(size(0), operand(1)?, false)?,
        "minimum" => first.f_minimum(operand(1)?)?,
        "maximum" => first.f_maximum(operand(1)?)?,
        "where" => operand(1)?.f_where_self(first, operand(2)?)?,
        "cat" => Tensor::f_cat(tensors, size(0))?,
        "stack" => Tensor::f_stack(tensors, size(0))?,
        other => return Err(Error::Input(format!("no operation named `{other}`"))),
    })
}
