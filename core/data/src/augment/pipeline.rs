//! Views of a whole batch, on the device.

use admix_torch::{Device, Kind, Tensor};

use super::resample::{Interpolation, Window, resample};
use super::view::{CHANGES, Change, View};
use super::{blur, colour};
use crate::error::setting;
use crate::{Error, Info, Result};

/// On a CPU so many images go through at once: their intermediate values stay in its caches.
const CPU_CHUNK: usize = 16;

/// Makes views of images that lie on the device.
#[derive(Debug)]
pub(super) struct Pipeline {
    filter: Interpolation,
    /// Height and width of the images.
    from: (i64, i64),
    /// Height and width of the views.
    to: (i64, i64),
    device: Device,
}

/// Rows of the table of numbers that goes to the device, one column per image.
#[derive(Clone, Copy)]
enum Row {
    Top,
    Height,
    Left,
    Width,
    Flip,
    Factor(Change),
    Radius,
}

impl Row {
    fn at(self) -> i64 {
        match self {
            Row::Top => 0,
            Row::Height => 1,
            Row::Left => 2,
            Row::Width => 3,
            Row::Flip => 4,
            Row::Factor(change) => 5 + change as i64,
            Row::Radius => 9,
        }
    }
}

/// Number of rows.
const ROWS: usize = 10;

/// A stretch of the list of positions, and what to do with the images at them.
struct Deed {
    what: What,
    start: i64,
    len: i64,
}

enum What {
    Change(Change),
    Grey,
    Blur,
}

impl Pipeline {
    pub(super) fn new(filter: Interpolation, size: Option<i64>, info: &Info, device: Device) -> Result<Self> {
        if !matches!(info.channels, 1 | 3) {
            let wanted =
                format!("`Shift`: the images of `{}` have {} channels, not 1 or 3", info.name, info.channels);
            return Err(setting("data.augment", "about colours", &wanted));
        }
        let from = (info.height, info.width);
        let to = size.map_or(from, |size| (size, size));
        Ok(Self { filter, from, to, device })
    }

    /// Height and width of the views.
    pub(super) fn to(&self) -> (i64, i64) {
        self.to
    }

    fn check(&self, views: &[View]) -> Result<()> {
        let (height, width) = self.from;
        let inside = |view: &View| {
            let fits = |start: i64, extent: i64, len: i64| start >= 0 && extent >= 1 && start + extent <= len;
            fits(view.top, view.height, height) && fits(view.left, view.width, width)
        };
        match views.iter().find(|view| !inside(view)) {
            None => Ok(()),
            Some(View { top, left, height: h, width: w, .. }) => Err(Error::Shape {
                what: "a crop",
                got: format!("{h}x{w} pixels from ({top}, {left})"),
                wanted: format!("a part of an image of {height}x{width}"),
            }),
        }
    }

    /// Views of images `[n, C, H, W]` (bytes) at `index` `[M]`: `[M, C, h, w]` f32, whole numbers 0 to 255.
    pub(super) fn views(&self, images: &Tensor, index: &Tensor, views: &[View]) -> Result<Tensor> {
        self.check(views)?;
        let (m, c) = (views.len(), images.size()[1]);
        if self.device != Device::Cpu || m <= CPU_CHUNK {
            return self.some(images, index, views);
        }
        let out = Tensor::f_empty([m as i64, c, self.to.0, self.to.1], (Kind::Float, self.device))?;
        for (number, part) in views.chunks(CPU_CHUNK).enumerate() {
            let (start, len) = ((number * CPU_CHUNK) as i64, part.len() as i64);
            let done = self.some(images, &index.f_narrow(0, start, len)?, part)?;
            out.f_narrow(0, start, len)?.f_copy_(&done)?;
        }
        Ok(out)
    }

    fn some(&self, images: &Tensor, index: &Tensor, views: &[View]) -> Result<Tensor> {
        let m = views.len() as i64;
        let numbers = self.numbers(views)?;
        // Channels between rows and columns: both passes of a separable filter are then one product without a copy.
        let picked = images.f_index_select(0, index)?.f_permute([0, 2, 1, 3])?;
        let picked = picked.f_to_kind(Kind::Float)?.f_contiguous()?;
        let row = |row: Row| -> Result<Tensor> { Ok(numbers.f_select(0, row.at())?.f_view([m, 1, 1])?) };
        let rows = Window { start: row(Row::Top)?, extent: row(Row::Height)?, reverse: None };
        let columns =
            Window { start: row(Row::Left)?, extent: row(Row::Width)?, reverse: Some(row(Row::Flip)?) };
        let mut made = resample(&picked, self.filter, &rows, &columns, self.to)?;
        self.recolour(&mut made, &numbers, views)?;
        Ok(made.f_permute([0, 2, 1, 3])?.f_contiguous()?)
    }

    /// Views that are cropped and resized already, bytes `[M, C, h, w]` on the device: flip and colours, `[M, C, h, w]` f32,
    /// whole numbers 0 to 255.
    pub(super) fn finish(&self, cropped: &Tensor, views: &[View]) -> Result<Tensor> {
        let m = views.len();
        if self.device != Device::Cpu || m <= CPU_CHUNK {
            return self.finish_some(cropped, views);
        }
        let out = Tensor::f_empty(cropped.size(), (Kind::Float, self.device))?;
        for (number, part) in views.chunks(CPU_CHUNK).enumerate() {
            let (start, len) = ((number * CPU_CHUNK) as i64, part.len() as i64);
            let done = self.finish_some(&cropped.f_narrow(0, start, len)?, part)?;
            out.f_narrow(0, start, len)?.f_copy_(&done)?;
        }
        Ok(out)
    }

    fn finish_some(&self, cropped: &Tensor, views: &[View]) -> Result<Tensor> {
        let numbers = self.numbers(views)?;
        let made = cropped.f_permute([0, 2, 1, 3])?;
        let mut made = made.f_to_kind(Kind::Float)?.f_contiguous()?;
        let flipped: Vec<i64> = (0..views.len()).filter(|&i| views[i].flip).map(|i| i as i64).collect();
        if !flipped.is_empty() {
            let at = self.upload(Tensor::f_from_slice(&flipped)?)?;
            let turned = made.f_index_select(0, &at)?.f_flip([3])?;
            let _ = made.f_index_copy_(0, &at, &turned)?;
        }
        self.recolour(&mut made, &numbers, views)?;
        Ok(made.f_permute([0, 2, 1, 3])?.f_contiguous()?)
    }

    /// Jitter, grey and blur, in place, on `[M, h, C, w]`. Which images an operation is for, the host knows.
    fn recolour(&self, made: &mut Tensor, numbers: &Tensor, views: &[View]) -> Result<()> {
        let (positions, deeds) = deeds(views);
        if deeds.is_empty() {
            return Ok(());
        }
        let positions = self.upload(Tensor::f_from_slice(&positions)?)?;
        for Deed { what, start, len } in deeds {
            let at = positions.f_narrow(0, start, len)?;
            let some = made.f_index_select(0, &at)?;
            let number = |row: Row, shape: &[i64]| -> Result<Tensor> {
                Ok(numbers.f_select(0, row.at())?.f_index_select(0, &at)?.f_view(shape)?)
            };
            let done = match what {
                What::Change(change) => {
                    colour::change(&some, change, &number(Row::Factor(change), &[len, 1, 1, 1])?)?
                }
                What::Grey => colour::grey(&some)?,
                What::Blur => blur::blur(&some, &number(Row::Radius, &[len, 1, 1])?)?,
            };
            let _ = made.f_index_copy_(0, &at, &done)?;
        }
        Ok(())
    }

    /// `[ROWS, M]` f32 on the device: one copy.
    fn numbers(&self, views: &[View]) -> Result<Tensor> {
        let m = views.len();
        let mut table = vec![0f32; ROWS * m];
        for (i, view) in views.iter().enumerate() {
            let mut put = |row: Row, value: f64| table[row.at() as usize * m + i] = value as f32;
            put(Row::Top, view.top as f64);
            put(Row::Height, view.height as f64);
            put(Row::Left, view.left as f64);
            put(Row::Width, view.width as f64);
            put(Row::Flip, f64::from(u8::from(view.flip)));
            if let Some(jitter) = view.jitter {
                put(Row::Factor(Change::Brightness), jitter.brightness);
                put(Row::Factor(Change::Contrast), jitter.contrast);
                put(Row::Factor(Change::Saturation), jitter.saturation);
                // 8 bits of hue: a turn below 1/255 is none.
                put(Row::Factor(Change::Hue), (jitter.hue * 255.0).trunc());
            }
            put(Row::Radius, view.blur.map_or(0.0, blur::radius));
        }
        self.upload(Tensor::f_from_slice(&table)?.f_view([ROWS as i64, m as i64])?)
    }

    /// Host numbers on the device, without waiting for it.
    fn upload(&self, values: Tensor) -> Result<Tensor> {
        Ok(admix_torch::upload(&values, self.device)?)
    }
}

/// Which images each operation is for: at each of the four places of the jitter every image has one operation, so that
/// all images together cost each operation once.
fn deeds(views: &[View]) -> (Vec<i64>, Vec<Deed>) {
    let (mut positions, mut deeds) = (Vec::new(), Vec::new());
    let mut add = |what: What, chosen: &dyn Fn(&View) -> bool| {
        let start = positions.len() as i64;
        positions.extend((0..views.len() as i64).filter(|&i| chosen(&views[i as usize])));
        let len = positions.len() as i64 - start;
        if len > 0 {
            deeds.push(Deed { what, start, len });
        }
    };
    for place in 0..CHANGES.len() {
        for change in CHANGES {
            add(What::Change(change), &|view| {
                view.jitter.is_some_and(|jitter| {
                    let acts = match change {
                        Change::Brightness => jitter.brightness != 1.0,
                        Change::Contrast => jitter.contrast != 1.0,
                        Change::Saturation => jitter.saturation != 1.0,
                        // The way through 8 bits of hue changes pixels also where hue is not turned.
                        Change::Hue => jitter.hue != 0.0,
                    };
                    acts && jitter.order[place] == change
                })
            });
        }
    }
    add(What::Grey, &|view| view.grey);
    add(What::Blur, &|view| view.blur.is_some());
    (positions, deeds)
}
