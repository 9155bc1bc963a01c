//! Stripes: two classes, stripes across and stripes down, made on the spot.

use admix_data::{About, Contents, DatasetSource, Images, Part, Result, Source, Wanted, dataset};

const SIDE: usize = 16;

dataset! {
    /// Has no settings.
    pub struct Stripes {}, "stripes", "stripes across and stripes down, 16x16 grey; made on the spot", source: "an example"
}

impl DatasetSource for Stripes {
    fn about(&self) -> About {
        About {
            classes: 2,
            class_names: vec!["across".into(), "down".into()],
            shape: [1, SIDE as i64, SIDE as i64],
            mean: vec![0.5],
            std: vec![0.5],
            train: 160,
            test: 40,
            unlabelled: 0,
            folds: 0,
        }
    }

    fn load(&self, wanted: Wanted<'_>) -> Result<Contents> {
        let split = |name: &str, n: usize| {
            let mut images = Images { labels: Vec::new(), pixels: Vec::new() };
            for i in 0..n {
                let mut draws = wanted.streams.draws("stripes", name, 0, i as u64);
                let (label, shift) = (i % 2, (draws.uniform() * 4.0) as usize);
                images.labels.push(label as u16);
                for pixel in 0..SIDE * SIDE {
                    let along = if label == 0 { pixel / SIDE } else { pixel % SIDE };
                    images.pixels.push(if (along + shift) % 4 < 2 { 255 } else { 0 });
                }
            }
            Part::new(&images, 1, SIDE as i64, SIDE as i64)
        };
        let about = self.about();
        let (train, test) = (split("train", about.train)?, split("test", about.test)?);
        let sizes = (about.train, about.test);
        let info = about.info("stripes", sizes, "made on the spot".into());
        Ok(Source { info, train, test, unlabelled: None }.into())
    }
}
