//! A reader of event files for tests, which shares nothing with what writes them.

use std::collections::BTreeMap;

/// A field of a message: a number (varint, or the bits of a fixed one) or bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// What a series shows at a step.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    Scalar(f32),
    /// Width, height, file.
    Image(u64, u64, Vec<u8>),
    Text(String),
    /// A plugin's name and what it reads.
    Metadata(String, Vec<u8>),
}

/// The checksum, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

fn checked(bytes: &[u8], sum: &[u8]) {
    let sum = u32::from_le_bytes(sum.try_into().expect("four bytes"));
    let crc = crc32c(bytes);
    assert_eq!(crc.rotate_left(17).wrapping_add(0xa282_ead8), sum, "the checksum");
}

/// The contents of all records; panics unless every byte belongs to a whole one.
pub fn records(mut file: &[u8]) -> Vec<&[u8]> {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    let mut found = Vec::new();
    while !file.is_empty() {
        checked(&file[..8], &file[8..12]);
        let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        let content = &file[12..12 + length];
        checked(content, &file[12 + length..16 + length]);
        found.push(content);
        file = &file[16 + length..];
    }
    found
}

/// The fields of a message, by their numbers, in their order.
pub fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn take<'a>(message: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = message.split_at(count);
        *message = rest;
        taken
    }
    fn varint(message: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = take(message, 1)[0];
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => Field::Number(u64::from_le_bytes(take(&mut message, 8).try_into().expect("eight"))),
            2 => {
                let length = varint(&mut message) as usize;
                Field::Bytes(take(&mut message, length))
            }
            5 => Field::Number(u32::from_le_bytes(take(&mut message, 4).try_into().expect("four")).into()),
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

/// The last field with this number.
fn field(message: &[u8], number: u64) -> Option<Field<'_>> {
    fields(message).into_iter().rfind(|(own, _)| *own == number).map(|(_, field)| field)
}

/// A number; 0 where it is not written.
pub fn number(message: &[u8], at: u64) -> u64 {
    match field(message, at) {
        Some(Field::Number(number)) => number,
        None => 0,
        other => panic!("field {at} is {other:?}"),
    }
}

/// Bytes, a text or a message.
pub fn bytes(message: &[u8], at: u64) -> Option<&[u8]> {
    field(message, at).map(|field| match field {
        Field::Bytes(bytes) => bytes,
        number => panic!("field {at} is {number:?}"),
    })
}

/// A text; empty where it is not written.
pub fn text(message: &[u8], at: u64) -> String {
    String::from_utf8(bytes(message, at).unwrap_or_default().to_vec()).expect("UTF-8")
}

fn shown(value: &[u8]) -> Shown {
    if let Some(Field::Number(bits)) = field(value, 2) {
        return Shown::Scalar(f32::from_bits(u32::try_from(bits).expect("32 bits")));
    }
    if let Some(image) = bytes(value, 4) {
        assert_eq!(number(image, 3), 3, "RGB");
        return Shown::Image(number(image, 2), number(image, 1), bytes(image, 4).expect("a file").to_vec());
    }
    let tensor = bytes(value, 8).expect("a value");
    let metadata = bytes(value, 9).expect("metadata");
    assert_eq!(number(metadata, 4), 2, "the class of data");
    let plugin = bytes(metadata, 1).expect("a plugin");
    match text(plugin, 1).as_str() {
        "text" => {
            assert_eq!((number(tensor, 1), bytes(tensor, 2)), (7, Some(&[][..])), "one text");
            Shown::Text(text(tensor, 8))
        }
        other => Shown::Metadata(other.into(), bytes(plugin, 2).unwrap_or_default().to_vec()),
    }
}

/// What TensorBoard shows of files that it reads in this order: the values of each series with their steps.
pub fn display(files: &[Vec<u8>]) -> BTreeMap<String, Vec<(u64, Shown)>> {
    let mut series: BTreeMap<String, Vec<(u64, Shown)>> = BTreeMap::new();
    for file in files {
        for (index, event) in records(file).into_iter().enumerate() {
            let step = number(event, 2);
            assert!(f64::from_bits(number(event, 1)) > 1.7e9, "the time");
            if index == 0 {
                assert_eq!(text(event, 3), "brain.Event:2");
            }
            // A part starts: what is known of this step and of later ones is out of date.
            if bytes(event, 7).is_some_and(|log| number(log, 1) == 1) {
                series.values_mut().for_each(|values| values.retain(|(own, _)| *own < step));
            }
            for (_, value) in fields(bytes(event, 5).unwrap_or_default()) {
                let Field::Bytes(value) = value else { panic!("a value is a message") };
                series.entry(text(value, 1)).or_default().push((step, shown(value)));
            }
        }
    }
    series.retain(|_, values| !values.is_empty());
    series
}
