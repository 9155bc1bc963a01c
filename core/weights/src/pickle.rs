//! Pickles, written: the few instructions that weight files need.

/// A pickle that grows at its end.
#[derive(Debug)]
pub(crate) struct Pickle(Vec<u8>);

impl Pickle {
    /// Of protocol 2, or of 3, the first one with bytes.
    pub(crate) fn new(protocol: u8) -> Self {
        Self(vec![0x80, protocol])
    }

    /// A function or class of a Python module.
    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.counted(b'X', text.as_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.counted(b'B', bytes);
    }

    /// What is longer than 4 GiB no tensor of a network is.
    fn counted(&mut self, code: u8, bytes: &[u8]) {
        self.0.push(code);
        self.0.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.extend(bytes);
    }

    pub(crate) fn int(&mut self, value: i64) {
        match (u8::try_from(value), i32::try_from(value)) {
            (Ok(byte), _) => self.0.extend([b'K', byte]),
            (_, Ok(small)) => {
                self.0.push(b'J');
                self.0.extend(small.to_le_bytes());
            }
            _ => {
                self.0.extend([0x8a, 8]);
                self.0.extend(value.to_le_bytes());
            }
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.0.push(if value { 0x88 } else { 0x89 });
    }

    /// A tuple of what `fill` pushes.
    pub(crate) fn tuple(&mut self, fill: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        fill(self);
        self.0.push(b't');
    }

    /// A tuple of whole numbers.
    pub(crate) fn ints(&mut self, values: &[i64]) {
        self.tuple(|own| values.iter().for_each(|value| own.int(*value)));
    }

    /// A dictionary; `fill` pushes keys and values in turn.
    pub(crate) fn dictionary(&mut self, fill: impl FnOnce(&mut Self)) {
        self.0.push(b'}');
        self.items(fill);
    }

    /// Puts what `fill` pushes, keys and values in turn, into the dictionary below.
    pub(crate) fn items(&mut self, fill: impl FnOnce(&mut Self)) {
        self.0.push(b'(');
        fill(self);
        self.0.push(b'u');
    }

    /// Calls the function below with the tuple on top.
    pub(crate) fn call(&mut self) {
        self.0.push(b'R');
    }

    /// Makes what is on top the name of an object that is stored elsewhere.
    pub(crate) fn persistent(&mut self) {
        self.0.push(b'Q');
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}
