mod convnet;
mod depth;
mod residual;
mod resnet;
mod resnext;
mod stem;

pub use convnet::ConvNetConfig;
pub use resnet::ResNetConfig;
pub use resnext::ResNeXtConfig;
pub use stem::Stem;

admix_api::export_plugins! {
    ConvNetConfig, ResNetConfig, ResNeXtConfig
}
