//! What values a network can take.

use admix_torch::{Kind, Tensor};

/// Checks a tensor that shall become a weight or a running value: numbers with a fraction, all finite, no variance below 0.
///
/// # Errors
/// What is wrong with it, and what to do, in words.
pub fn check_value(name: &str, value: &Tensor) -> std::result::Result<(), String> {
    if !matches!(value.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
        return Err(format!(
            "the tensor `{name}` holds {:?}, expected floating numbers (F32, F64, F16 or BF16): quantised weights must be \
             turned into those first",
            value.kind()
        ));
    }
    let read = || -> std::result::Result<(bool, f64), admix_torch::TchError> {
        let value = value.f_to_kind(Kind::Float)?;
        let least = if value.numel() > 0 { value.f_min()?.f_double_value(&[])? } else { 0.0 };
        Ok((value.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1, least))
    };
    let (is_finite, least) =
        read().map_err(|error| format!("the tensor `{name}` cannot be read ({error})"))?;
    if !is_finite {
        return Err(format!(
            "the tensor `{name}` holds a value that float32 has not (NaN or infinity): use a sound file"
        ));
    }
    if name.ends_with("running_var") && least < 0.0 {
        return Err(format!("the tensor `{name}` holds a variance below 0: use a sound file"));
    }
    Ok(())
}
