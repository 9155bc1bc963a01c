mod convnet;
mod depth;
mod preact_resnet;
mod preactivation;
mod residual;
mod resnet;
mod resnext;
mod stem;
mod wide_resnet;

pub use convnet::ConvNetConfig;
pub use preact_resnet::PreActResNetConfig;
pub use resnet::ResNetConfig;
pub use resnext::ResNeXtConfig;
pub use stem::Stem;
pub use wide_resnet::WideResNetConfig;

admix_api::export_plugins! {
    ConvNetConfig, PreActResNetConfig, ResNetConfig, ResNeXtConfig, WideResNetConfig
}
