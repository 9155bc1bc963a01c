//! Records of a TFRecord file: length, its checksum, content, its checksum.

const LENGTH: usize = 8;
const SUM: usize = 4;

/// The record of this content.
pub fn record(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), content, &masked(content)].concat()
}

/// The records at the start of a file, each as (itself, its content), up to one that is cut or damaged.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_at_checked(LENGTH)?;
        let rest = rest.strip_prefix(&masked(length))?;
        let size = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
        let (content, rest) = rest.split_at_checked(size)?;
        rest.strip_prefix(&masked(content))?;
        let (whole, rest) = bytes.split_at(LENGTH + SUM + size + SUM);
        bytes = rest;
        Some((whole, content))
    })
}

/// The masked CRC-32C: the checksum of bytes that hold checksums would mean little otherwise.
fn masked(bytes: &[u8]) -> [u8; SUM] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::decoder;
    use super::*;

    #[test]
    fn records_are_read_by_another_reader_and_by_this_one_up_to_the_first_that_is_damaged() {
        let contents: [&[u8]; 3] = [b"123456789", b"", &[7; 300]];
        let file: Vec<u8> = contents.iter().flat_map(|content| record(content)).collect();
        assert_eq!(decoder::records(&file), contents);
        let read = |file: &[u8]| records(file).map(|(_, content)| content.to_vec()).collect::<Vec<_>>();
        assert_eq!(read(&file), contents);
        assert_eq!(records(&file).map(|(whole, _)| whole).collect::<Vec<_>>().concat(), file);
        assert_eq!(read(&file[..file.len() - 1]), contents[..2], "cut");
        for (at, whole) in [(0, 0), (9, 0), (15, 0), (23, 0), (25, 1), (60, 2)] {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            assert_eq!(read(&damaged).len(), whole, "byte {at}");
        }
    }
}
