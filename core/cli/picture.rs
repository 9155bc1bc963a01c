//! A labelled grid of small pictures.

use font8x8::UnicodeFonts;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

const BACKGROUND: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([30, 30, 30]);
const FAINT: Rgb<u8> = Rgb([170, 170, 170]);
/// Cells are scaled up to at least this many pixels.
const SMALLEST_CELL: u32 = 64;
/// Between cells, and around the grid.
const GAP: u32 = 4;
/// Above each block but the first.
const BLOCK_GAP: u32 = 12;
/// Side of a letter.
const LETTER: u32 = 8;

/// Rows under one name.
pub struct Block {
    /// At the left of its first row.
    pub name: String,
    /// As many cells as there are headings; an absent one is said to be absent.
    pub rows: Vec<Vec<Option<RgbImage>>>,
}

/// Blocks under one line of headings.
pub struct Grid {
    /// Above the columns.
    pub headings: Vec<String>,
    /// From top to bottom.
    pub blocks: Vec<Block>,
}

/// Where things are, in pixels.
struct Layout {
    /// Pictures are scaled by this whole number.
    scale: u32,
    cell: (u32, u32),
    /// Letters are scaled by this.
    letters: u32,
    /// Left edge of the first column, top edge of the first row.
    origin: (u32, u32),
    size: (u32, u32),
}

impl Grid {
    fn layout(&self) -> Layout {
        let picture = self.blocks.iter().flat_map(|b| b.rows.iter().flatten().flatten()).next();
        let (width, height) = picture.map_or((SMALLEST_CELL, SMALLEST_CELL), RgbImage::dimensions);
        let scale = SMALLEST_CELL.div_ceil(width.min(height).max(1)).max(1);
        let cell = (width * scale, height * scale);
        // Twice the size where the longest heading still fits above its column.
        let longest = self.headings.iter().map(|text| text_width(text)).max().unwrap_or(0);
        let letters = (cell.0 / longest.max(1)).clamp(1, 2);
        let names = self.blocks.iter().map(|block| text_width(&block.name)).max().unwrap_or(0) * letters;
        let origin = (names + 3 * GAP, LETTER * letters + 3 * GAP);
        let rows: u32 = self.blocks.iter().map(|block| block.rows.len() as u32).sum();
        let gaps = self.blocks.len().saturating_sub(1) as u32 * BLOCK_GAP;
        let size = (
            origin.0 + self.headings.len() as u32 * (cell.0 + GAP) + GAP,
            origin.1 + rows * (cell.1 + GAP) + gaps,
        );
        Layout { scale, cell, letters, origin, size }
    }

    /// Draws it.
    pub fn render(&self) -> RgbImage {
        let Layout { scale, cell, letters, origin, size } = self.layout();
        let mut canvas = RgbImage::from_pixel(size.0, size.1, BACKGROUND);
        let left = |column: usize| origin.0 + column as u32 * (cell.0 + GAP);
        let centred = |column: usize, text: &str, letters: u32| {
            left(column) + cell.0.saturating_sub(text_width(text) * letters) / 2
        };
        for (column, heading) in self.headings.iter().enumerate() {
            write(&mut canvas, (centred(column, heading, letters), GAP), heading, letters, INK);
        }
        let mut top = origin.1;
        for block in &self.blocks {
            let middle = top + cell.1.saturating_sub(LETTER * letters) / 2;
            write(&mut canvas, (GAP, middle), &block.name, letters, INK);
            for row in &block.rows {
                for (column, picture) in row.iter().enumerate() {
                    frame(&mut canvas, (left(column), top), cell);
                    match picture {
                        Some(picture) => {
                            let (width, height) = picture.dimensions();
                            let large =
                                imageops::resize(picture, width * scale, height * scale, FilterType::Nearest);
                            imageops::replace(&mut canvas, &large, left(column).into(), top.into());
                        }
                        None => {
                            let at = (centred(column, "none", 1), top + cell.1.saturating_sub(LETTER) / 2);
                            write(&mut canvas, at, "none", 1, FAINT);
                        }
                    }
                }
                top += cell.1 + GAP;
            }
            top += BLOCK_GAP;
        }
        canvas
    }
}

/// Pictures from left to right, each under its name.
pub fn beside(pictures: &[(String, RgbImage)]) -> RgbImage {
    let top = 2 * LETTER + 2 * GAP;
    let wide = |(name, picture): &(String, RgbImage)| picture.width().max(2 * text_width(name) + 2 * GAP);
    let height = pictures.iter().map(|(_, picture)| picture.height()).max().unwrap_or(0);
    let gaps = pictures.len().saturating_sub(1) as u32 * BLOCK_GAP;
    let mut canvas =
        RgbImage::from_pixel(pictures.iter().map(wide).sum::<u32>() + gaps, top + height, BACKGROUND);
    let mut left = 0;
    for one in pictures {
        write(&mut canvas, (left + GAP, GAP), &one.0, 2, INK);
        imageops::replace(&mut canvas, &one.1, left.into(), top.into());
        left += wide(one) + BLOCK_GAP;
    }
    canvas
}

/// A thin line around a cell, in the gap: white pictures must not melt into the page.
fn frame(canvas: &mut RgbImage, (left, top): (u32, u32), (width, height): (u32, u32)) {
    let whole = RgbImage::from_pixel(width + 2, height + 2, FAINT);
    imageops::replace(canvas, &whole, i64::from(left) - 1, i64::from(top) - 1);
    let inside = RgbImage::from_pixel(width, height, BACKGROUND);
    imageops::replace(canvas, &inside, left.into(), top.into());
}

/// Width of a text in letters of their own size.
fn text_width(text: &str) -> u32 {
    text.chars().count() as u32 * LETTER
}

/// Draws a line of text; what does not fit on the canvas is cut off, a letter that the font lacks is a box.
fn write(canvas: &mut RgbImage, (x, y): (u32, u32), text: &str, scale: u32, ink: Rgb<u8>) {
    const BOX: [u8; 8] = [0x00, 0x7e, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00];
    for (position, letter) in text.chars().enumerate() {
        let basic = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
        let rows = basic.or_else(|| font8x8::GREEK_FONTS.get(letter)).unwrap_or(BOX);
        for (row, bits) in rows.iter().enumerate() {
            for column in (0..8).filter(|column| bits >> column & 1 == 1) {
                let corner_x = x + (position as u32 * LETTER + column) * scale;
                let corner_y = y + row as u32 * scale;
                for (dx, dy) in (0..scale).flat_map(|dy| (0..scale).map(move |dx| (dx, dy))) {
                    if let Some(pixel) = canvas.get_pixel_mut_checked(corner_x + dx, corner_y + dy) {
                        *pixel = ink;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_beside_each_other_keep_their_pixels() {
        let of = |grey: u8| RgbImage::from_pixel(60, 40, Rgb([grey; 3]));
        let whole = beside(&[("a".into(), of(10)), ("b".into(), of(200))]);
        let count = |grey: u8| whole.pixels().filter(|pixel| pixel.0 == [grey; 3]).count();
        assert_eq!((count(10), count(200)), (2400, 2400));
        assert!(count(30) > 10, "names are drawn");
    }

    fn grid(width: u32, height: u32) -> Grid {
        let cell = || Some(RgbImage::from_pixel(width, height, Rgb([9, 8, 7])));
        let block = |name: &str, rows: usize| Block {
            name: name.into(),
            rows: (0..rows).map(|_| vec![cell(), cell(), None]).collect(),
        };
        Grid {
            headings: ["A", "B", "λ=0.5"].map(String::from).to_vec(),
            blocks: vec![block("mixup", 2), block("x", 1)],
        }
    }

    #[test]
    fn cells_are_scaled_by_a_whole_number_to_at_least_64_pixels() {
        for ((width, height), cell) in
            [((28, 28), (84, 84)), ((32, 32), (64, 64)), ((96, 64), (96, 64)), ((4, 7), (64, 112))]
        {
            assert_eq!(grid(width, height).layout().cell, cell);
        }
    }

    #[test]
    fn every_cell_and_every_label_lies_on_the_canvas() {
        let grid = grid(28, 28);
        let Layout { cell, letters, origin, size, .. } = grid.layout();
        assert_eq!(letters, 2, "`λ=0.5` in large letters is 80 pixels wide");
        let canvas = grid.render();
        assert_eq!(canvas.dimensions(), size);
        assert_eq!(size, (origin.0 + 3 * (cell.0 + GAP) + GAP, origin.1 + 3 * (cell.1 + GAP) + BLOCK_GAP));
        // The last row's corners.
        let bottom = size.1 - GAP - 1;
        assert_eq!(canvas.get_pixel(origin.0, bottom), &Rgb([9, 8, 7]));
        assert_eq!(canvas.get_pixel(origin.0 + cell.0, bottom), &FAINT);
        assert!(origin.0 > text_width("mixup") * letters, "names do not reach into the pictures");
        // An absent cell says so.
        let right = origin.0 + 2 * (cell.0 + GAP);
        assert!(
            (right..right + cell.0)
                .any(|x| (origin.1..origin.1 + cell.1).any(|y| canvas.get_pixel(x, y) == &FAINT))
        );
    }

    #[test]
    fn text_is_drawn_and_cut_off_at_the_edge() {
        let mut canvas = RgbImage::from_pixel(20, 10, BACKGROUND);
        write(&mut canvas, (1, 1), "λ_0.9 and more than fits \u{1f600}", 1, INK);
        let inked =
            |x: std::ops::Range<u32>| x.into_iter().any(|x| (0..10).any(|y| canvas.get_pixel(x, y) == &INK));
        assert!(inked(1..9), "the font has lambda");
        assert!(inked(9..17));
        write(&mut canvas, (300, 300), "outside", 2, INK);
    }

    #[test]
    fn a_grid_without_pictures_is_drawn_too() {
        let empty = Grid { headings: Vec::new(), blocks: Vec::new() };
        assert!(empty.render().width() > 0);
    }
}
