//! Which files are pictures by their names; what they are, their content says.

use std::path::Path;

const SUFFIXES: [&str; 10] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "tif", "tiff", "gif"];

/// Whether a file's name is that of a picture.
pub(crate) fn is_picture(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    SUFFIXES.iter().any(|known| suffix.eq_ignore_ascii_case(known))
}
