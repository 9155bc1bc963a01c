//! How large a picture may be.

/// Larger pictures are refused before their pixels are allocated.
pub(super) const MOST_PIXELS_A_SIDE: usize = 16_384;
pub(super) const MOST_PIXELS: usize = 100_000_000;
