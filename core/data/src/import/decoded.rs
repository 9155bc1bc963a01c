//! One file of an import.

use super::decode::Planar;

/// One file, decoded or not.
#[derive(Debug)]
pub struct Decoded {
    /// Folders and file name.
    pub parts: Vec<String>,
    /// The image, or why it is none.
    pub(crate) image: std::result::Result<Planar, String>,
    /// What readers forgive in its file.
    pub(crate) flaws: Vec<String>,
    /// Its class, where that is not its folder.
    pub class: Option<String>,
    /// Its contents, of a list that a layout needs.
    pub text: Option<Vec<u8>>,
}

impl Decoded {
    /// Its path below the source.
    pub fn name(&self) -> String {
        self.parts.join("/")
    }

    /// Whether a file of this path may be an image: below a folder, its class, unless the source is flat.
    pub(crate) fn is_image(parts: &[String], flat: bool) -> bool {
        (flat || parts.len() > 1) && !is_hidden(parts)
    }

    /// Left by an operating system, such as `.DS_Store`, `._0001.jpg`, `__MACOSX/`.
    pub(crate) fn hidden(&self) -> bool {
        is_hidden(&self.parts)
    }
}

pub(super) fn is_hidden(parts: &[String]) -> bool {
    parts.iter().any(|part| part.starts_with('.') || part == "__MACOSX")
}
