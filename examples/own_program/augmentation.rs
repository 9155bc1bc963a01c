//! Roll: each image is rolled to the right by a random number of columns; what leaves on one side enters on the other.

use admix_api::Draws;
use admix_api::ranges::expect;
use admix_data::{Augmentation, AugmentationConfig, Error, Result, Setup, Views, augmentation};
use admix_torch::{Kind, Tensor};

admix_api::settings! {
    /// Settings of a roll. Recipe: `Roll(most: 4)`.
    pub struct Roll {
        /// Most columns that an image is rolled by.
        pub most: i64 = 4,
    }
}

augmentation! { Roll, "roll", "roll to the right by a random number of columns", source: "an example" }

impl AugmentationConfig for Roll {
    fn validate(&self) -> admix_api::Result<()> {
        expect("most", self.most, self.most >= 0, "a whole number from 0")
    }

    fn build(&self, setup: &Setup<'_>) -> Result<Box<dyn Augmentation>> {
        let size = (setup.info.height, setup.info.width);
        Ok(Box::new(Rolling { most: self.most, size }))
    }

    fn resolved(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}

#[derive(Debug)]
struct Rolling {
    most: i64,
    size: (i64, i64),
}

impl Augmentation for Rolling {
    fn size(&self) -> (i64, i64) {
        self.size
    }

    fn draw(&self, sizes: &[(i64, i64)], draws: &mut Draws) -> Views {
        let by = sizes.iter().map(|_| draws.below(self.most as usize + 1) as i64);
        by.collect::<Vec<i64>>().into()
    }

    fn apply(&self, images: &Tensor, index: &Tensor, views: &[Views]) -> Result<Vec<Tensor>> {
        let own = images.f_index_select(0, index)?;
        let (n, channels, height, width) = own.size4()?;
        let columns = Tensor::f_arange(width, (Kind::Int64, own.device()))?;
        let rolled = |view: &Views| {
            let by = view.of::<i64>("rolls")?;
            if by.len() as i64 != n {
                let got = format!("rolls of {} images", by.len());
                return Err(Error::Shape {
                    what: "an augmentation",
                    got,
                    wanted: format!("rolls of {n} images"),
                });
            }
            let by = Tensor::f_from_slice(by)?.f_to_device(own.device())?.f_view([n, 1])?;
            let from = columns.f_sub(&by)?.f_remainder(width)?.f_view([n, 1, 1, width])?;
            Ok(own.f_gather(3, &from.f_expand([n, channels, height, width], false)?, false)?)
        };
        views.iter().map(rolled).collect()
    }
}
