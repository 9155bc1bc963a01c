//! torchvision's weight files for the backbones of this program. The first digits of the SHA-256 are part of each name.

use admix_fetch::{Sum, Wanted};

use crate::located::{Located, Normalisation};
use crate::{Error, Result, cache};

/// Where the files are.
const BASE: &str = "https://download.pytorch.org/models";
/// Another place of the same files.
const MIRROR: &str = "ADMIX_TORCHVISION";
/// What all of them normalise images by.
const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The network and its file without ".pth", of torchvision's weights IMAGENET1K_V1 and, as NAME@V2, IMAGENET1K_V2.
const FILES: [(&str, &str); 19] = [
    ("resnet18", "resnet18-f37072fd"),
    ("resnet34", "resnet34-b627a593"),
    ("resnet50", "resnet50-0676ba61"),
    ("resnet50@V2", "resnet50-11ad3fa6"),
    ("resnet101", "resnet101-63fe2227"),
    ("resnet101@V2", "resnet101-cd907fc2"),
    ("resnext50_32x4d", "resnext50_32x4d-7cdf4587"),
    ("resnext50_32x4d@V2", "resnext50_32x4d-1a0047aa"),
    ("resnext101_32x8d", "resnext101_32x8d-8ba56ff5"),
    ("resnext101_32x8d@V2", "resnext101_32x8d-110c445d"),
    ("resnext101_64x4d", "resnext101_64x4d-173b62eb"),
    ("convnext_tiny", "convnext_tiny-983f1562"),
    ("convnext_small", "convnext_small-0c510722"),
    ("convnext_base", "convnext_base-6075fbad"),
    ("vit_b_16", "vit_b_16-c867db91"),
    ("vit_b_32", "vit_b_32-d86f8d99"),
    ("swin_t", "swin_t-704ceda3"),
    ("swin_s", "swin_s-5e29d889"),
    ("swin_b", "swin_b-68c6b09e"),
];

/// Gets a network's file, unless it is there.
pub(crate) fn locate(name: &str, progress: &dyn Fn(u64, u64)) -> Result<Located> {
    let Some((_, file)) = FILES.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        return Err(Error::Address(format!(
            "`torchvision:{name}` names no weights that are known here; expected one of {}",
            known.join(", ")
        )));
    };
    let base = std::env::var(MIRROR).unwrap_or_else(|_| BASE.into());
    let url = format!("{}/{file}.pth", base.trim_end_matches('/'));
    let sum = file.rsplit('-').next().map(|digits| Sum::Sha256Start(digits.into()));
    let path = cache::folder()?.join("torchvision").join(format!("{file}.pth"));
    let mirror = "set ADMIX_TORCHVISION to the address of a folder that has the file";
    Wanted { url: &url, sum: sum.as_ref(), mirror }.download(&path, progress)?;
    let normalisation = Some(Normalisation { mean: MEAN.to_vec(), std: STD.to_vec() });
    Ok(Located { path, normalisation })
}
