//! The datasets that recipes use by name: one file for each.

pub(crate) mod cifar;
pub(crate) mod cifar10;
pub(crate) mod cifar100;
mod contract;
pub(crate) mod fashion_mini;
pub(crate) mod fashion_mnist;
mod kind;
pub(crate) mod stl10;
mod tiny_imagenet;
mod tiny_imagenet_lists;
pub(crate) mod toy;

pub use kind::{About, Absent, DatasetSource, Published, Then, Wanted};
pub use toy::Toy;

admix_api::register! {
    cifar10::Cifar10, cifar100::Cifar100, fashion_mini::FashionMini, fashion_mnist::FashionMnist, stl10::Stl10,
    tiny_imagenet::TinyImagenet, toy::Toy,
}
