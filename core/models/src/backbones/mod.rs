mod convnet;
mod convnext;
mod depth;
mod drop_path;
mod patches;
mod preact_resnet;
mod preactivation;
mod residual;
mod resnet;
mod resnext;
mod size;
mod stem;
mod swin;
mod transformer;
mod vit;
mod wide_resnet;
mod windows;

pub use convnet::ConvNetConfig;
pub use convnext::ConvNeXtConfig;
pub use preact_resnet::PreActResNetConfig;
pub use resnet::ResNetConfig;
pub use resnext::ResNeXtConfig;
pub use size::Size;
pub use stem::Stem;
pub use swin::SwinConfig;
pub use vit::ViTConfig;
pub use wide_resnet::WideResNetConfig;

admix_api::export_plugins! {
    ConvNeXtConfig, ConvNetConfig, PreActResNetConfig, ResNetConfig, ResNeXtConfig, SwinConfig, ViTConfig, WideResNetConfig
}
