//! The datasets that recipes use by name: one file for each.

mod aircraft;
pub(crate) mod cifar;
pub(crate) mod cifar10;
pub(crate) mod cifar100;
mod contract;
mod cub200;
pub(crate) mod fashion_mini;
pub(crate) mod fashion_mnist;
mod kind;
mod settings;
pub(crate) mod stl10;
mod table;
mod tiny_imagenet;
mod tiny_imagenet_lists;
pub(crate) mod toy;

pub use aircraft::{Aircraft, CreditStrip};
pub use kind::{About, Absent, DatasetSource, Published, Then, Wanted};
pub use settings::SetSettings;
pub(crate) use settings::at_defaults;
pub use toy::Toy;

admix_api::register! {
    aircraft::Aircraft, cifar10::Cifar10, cifar100::Cifar100, cub200::Cub200, fashion_mini::FashionMini,
    fashion_mnist::FashionMnist, stl10::Stl10, tiny_imagenet::TinyImagenet, toy::Toy,
}
