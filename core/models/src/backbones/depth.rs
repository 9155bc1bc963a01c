//! How deep a parameter lies, by its name.

/// The number of the block that a parameter belongs to, counted through all stages from 1; 0 is the stem. `stage` stands
/// before the number of its stage, the first of which is number `first`. `None`: it is in no stage.
pub(super) fn layer(parameter: &str, stage: &str, first: usize, blocks: &[usize]) -> Option<usize> {
    let mut parts = parameter.strip_prefix(stage)?.split('.');
    let stage = parts.next()?.parse::<usize>().ok()?.checked_sub(first)?;
    let mut parts = parts.peekable();
    // What halves the map in front of a stage belongs to the first block of it.
    let is_between = parts.peek() == Some(&"downsample");
    let block = if is_between { 0 } else { parts.find_map(|part| part.parse::<usize>().ok())? };
    let before: usize = blocks.get(..stage)?.iter().sum();
    (block < *blocks.get(stage)?).then_some(1 + before + block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_through_all_stages() {
        for (parameter, stage, first, wanted) in [
            ("layer1.0.conv1.weight", "layer", 1, Some(1)),
            ("layer2.1.downsample.0.weight", "layer", 1, Some(5)),
            ("block3.layer.0.bn1.bias", "block", 1, Some(6)),
            ("stages.1.blocks.1.gamma", "stages.", 0, Some(5)),
            ("stages.1.downsample.1.weight", "stages.", 0, Some(4)),
            ("stages.1.blocks.2.gamma", "stages.", 0, None),
            ("conv1.weight", "layer", 1, None),
        ] {
            assert_eq!(layer(parameter, stage, first, &[3, 2, 1]), wanted, "{parameter}");
        }
    }
}
