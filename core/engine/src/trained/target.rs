//! How a file of weights is written.

use std::path::Path;

use crate::{Error, Result};

/// How a file of weights is written; the end of its name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// safetensors: `.safetensors`.
    Safetensors,
    /// As `torch.save` writes it: `.pth`, `.pt` or `.bin`.
    PyTorch,
    /// As Detectron2 reads it: `.pkl`.
    Pickle,
}

impl Target {
    /// How the file of this name is written, if `format` is what its tensors are named by.
    ///
    /// # Errors
    /// The name ends in nothing that is known, or in what the format has not.
    pub fn of(path: &Path, format: Option<&str>) -> Result<Self> {
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
        let target = match end.as_str() {
            "safetensors" => Self::Safetensors,
            "pth" | "pt" | "bin" => Self::PyTorch,
            "pkl" => Self::Pickle,
            _ => {
                return Err(Error::Input(format!(
                    "--output {}: expected a name that ends in .safetensors or .pth, or for Detectron2 in .pkl",
                    path.display()
                )));
            }
        };
        let is_detectron2 = format == Some("detectron2");
        let wanted = match (target, format) {
            (Self::Pickle, _) if !is_detectron2 => "in .pkl only with --format detectron2",
            (Self::Safetensors | Self::PyTorch, _) if is_detectron2 => {
                "in .pkl, which is what Detectron2 reads"
            }
            (Self::PyTorch, Some("safetensors")) => "in .safetensors",
            _ => return Ok(target),
        };
        Err(Error::Input(format!("--output {}: expected a name that ends {wanted}", path.display())))
    }
}
