//! How large a picture may be.

/// Larger pictures are refused before their pixels are allocated.
pub(super) const MOST_PIXELS_A_SIDE: usize = 16_384;
pub(super) const MOST_PIXELS: usize = 100_000_000;
/// A picture that is packed as it is has at most so many; `--size` brings it to as many.
pub(super) const MOST_PACKED_A_SIDE: i64 = 4096;

/// Bytes of decoded pictures that an import keeps: it packs them once all are there.
pub(super) fn most_kept() -> u64 {
    /// A set this large would not fit on a device either.
    const MOST: u64 = 64 << 30;
    // The rest is for decoding, and for whoever else runs here.
    admix_torch::available_memory_bytes().map_or(MOST, |free| MOST.min(free / 4 * 3))
}
