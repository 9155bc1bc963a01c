//! Reference vectors: numbers of the authors' code and of the default form, reproduced through the public objects.
//!
//! The folder comes from `ADMIX_GOLDEN` (a relative path starts at the workspace root), else it is `tests/golden`.
//! Shapes, lambdas and counts come from the files, so that another set with the same names can be laid over them.
//! To add a file: write its check, add a line to `checks!`. What a check leaves unread must stand in `UNUSED`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use admix_torch::{Kind, Tensor};
use safetensors::{Dtype, SafeTensors};

#[path = "golden_checks/blocks.rs"]
mod blocks;
#[path = "golden_checks/clusters.rs"]
mod clusters;
#[path = "golden_checks/co_mixup.rs"]
mod co_mixup;
#[path = "golden_checks/contrastive.rs"]
mod contrastive;
#[path = "golden_checks/ema.rs"]
mod ema;
#[path = "golden_checks/fields.rs"]
mod fields;
#[path = "golden_checks/imix.rs"]
mod imix;
#[path = "golden_checks/levels.rs"]
mod levels;
#[path = "golden_checks/losses.rs"]
mod losses;
#[path = "golden_checks/masks.rs"]
mod masks;
#[path = "golden_checks/mochi.rs"]
mod mochi;
#[path = "golden_checks/pairs.rs"]
mod pairs;
#[path = "golden_checks/pastes.rs"]
mod pastes;
#[path = "golden_checks/peers.rs"]
mod peers;
#[path = "golden_checks/puzzles.rs"]
mod puzzles;
#[path = "golden_checks/saliency.rs"]
mod saliency;
#[path = "golden_checks/schedules.rs"]
mod schedules;
#[path = "golden_checks/ssl.rs"]
mod ssl;
#[path = "golden_checks/ssl_code.rs"]
mod ssl_code;
#[path = "golden_checks/steps.rs"]
mod steps;
#[path = "golden_checks/swav.rs"]
mod swav;
#[path = "golden_checks/swav_net.rs"]
mod swav_net;

macro_rules! checks {
    ($($stem:ident: $check:path,)*) => {
        /// The files, and what checks them.
        pub const CHECKS: &[(&str, fn(&Golden))] = &[$((stringify!($stem), $check)),*];

        $(#[test]
        fn $stem() {
            $check(&Golden::open(stringify!($stem)));
        })*
    };
}

checks! {
    mixblock_automix: blocks::mixblock_automix,
    mixblock_automix_lamcat: blocks::mixblock_automix_lamcat,
    mixblock_amix: blocks::mixblock_amix,
    mixblock_amix_relu_k1: blocks::mixblock_amix_relu_k1,
    mixblock_amix_pair: blocks::mixblock_amix_pair,
    mixblock_paper: blocks::mixblock_paper,
    mixblock_default: blocks::mixblock_default,
    mask_loss: masks::mask_loss,
    lam_adjust: masks::lam_adjust,
    lam_rescale: masks::lam_rescale,
    ce_losses: losses::ce_losses,
    contrastive: contrastive::contrastive,
    odc_memory: clusters::odc_memory,
    mixers_mixup_cutmix: pairs::mixers_mixup_cutmix,
    mixers_fmix: fields::mixers_fmix,
    mixers_resizemix: pastes::mixers_resizemix,
    mixers_saliencymix: saliency::mixers_saliencymix,
    mixers_puzzlemix_mask: puzzles::mixers_puzzlemix_mask,
    mixers_puzzlemix_64: puzzles::mixers_puzzlemix_64,
    mixers_puzzlemix_transport: puzzles::mixers_puzzlemix_transport,
    mixers_comixup: co_mixup::mixers_comixup,
    ema: ema::ema,
    queue: ssl::queue,
    schedules: schedules::schedules,
    ssl_step_i_default: ssl::ssl_step_i_default,
    ssl_step_c_default: ssl::ssl_step_c_default,
    ssl_step_i_code: ssl_code::ssl_step_i_code,
    ssl_step_i_pairfixed: ssl_code::ssl_step_i_pairfixed,
    ssl_step_c_code: ssl_code::ssl_step_c_code,
    ssl_step_c_pairfixed: ssl_code::ssl_step_c_pairfixed,
    unmix: peers::unmix,
    imix: imix::imix,
    bsim: peers::bsim,
    wbsim: peers::wbsim,
    mochi: mochi::mochi,
    swav_sinkhorn: swav::swav_sinkhorn,
    swav_step: swav::swav_step,
    supervised_step_automix: steps::supervised_step_automix,
    supervised_step_amix: steps::supervised_step_amix,
    supervised_step_default: steps::supervised_step_default,
}

/// Tensors that no check reads: (file, name or `prefix*`, reason).
pub const UNUSED: &[(&str, &str, &str)] = &[
    ("ssl_step_i_code", "bn_shuffle_*", "orders of samples that cancel on one device"),
    ("ssl_step_i_pairfixed", "bn_shuffle_*", "the same"),
    ("ssl_step_c_code", "bn_shuffle_*", "the same"),
    ("ssl_step_c_pairfixed", "bn_shuffle_*", "the same"),
    ("unmix", "bn_shuffle", "an order of samples that cancels on one device"),
    (
        "unmix",
        "demo.*",
        "another form, which scores mixtures against keys of the view that they show: not built",
    ),
    ("unmix", "f64.demo.*", "the same"),
    ("swav_step", "f64.net.*", "a session computes in float32"),
    ("imix", "latent_cutmix.*", "a box in the maps of a stage: not built"),
    ("imix", "f64.latent_cutmix.*", "the same"),
    ("mixers_puzzlemix_64", "mean", "only differences of images count"),
    ("mixers_puzzlemix_mask", "mean", "only differences of images count"),
];

/// One file of reference vectors. Remembers which tensors were read.
#[derive(Debug)]
pub struct Golden {
    stem: String,
    tensors: BTreeMap<String, Tensor>,
    read: RefCell<BTreeSet<String>>,
}

impl Golden {
    /// Opens `STEM.safetensors`.
    pub fn open(stem: &str) -> Self {
        let path = folder().join(format!("{stem}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = file
            .iter()
            .map(|(name, view)| {
                let kind = match view.dtype() {
                    Dtype::F32 => Kind::Float,
                    Dtype::F64 => Kind::Double,
                    Dtype::I64 => Kind::Int64,
                    Dtype::I32 => Kind::Int,
                    Dtype::I16 => Kind::Int16,
                    Dtype::U8 => Kind::Uint8,
                    other => panic!("{stem}: `{name}` is {other:?}"),
                };
                let size: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
                let tensor =
                    Tensor::f_from_data_size(view.data(), &size, kind).expect("a tensor of the file");
                (name.to_string(), tensor)
            })
            .collect();
        Self { stem: stem.into(), tensors, read: RefCell::default() }
    }

    /// A tensor by name, a copy of its own.
    pub fn get(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("{} has no `{name}`", self.stem))
    }

    /// A tensor that may be there.
    pub fn find(&self, name: &str) -> Option<Tensor> {
        let tensor = self.tensors.get(name)?;
        self.read.borrow_mut().insert(name.to_string());
        Some(tensor.copy())
    }

    /// The number in a tensor of one element.
    pub fn number(&self, name: &str) -> f64 {
        let tensor = self.get(name);
        assert_eq!(tensor.numel(), 1, "{}: `{name}` is not a number", self.stem);
        tensor.reshape([-1]).double_value(&[0])
    }

    /// The numbers of a tensor, row by row.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        Vec::try_from(self.get(name).to_kind(Kind::Double).reshape([-1])).expect("numbers")
    }

    /// The whole numbers of a tensor, row by row.
    pub fn integers(&self, name: &str) -> Vec<i64> {
        Vec::try_from(self.get(name).to_kind(Kind::Int64).reshape([-1])).expect("integers")
    }

    /// Whether there is such a tensor; does not count as reading it.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Fails unless `found` equals the tensor `name` within `tolerance`.
    pub fn check(&self, name: &str, found: &Tensor, tolerance: Tolerance) {
        tolerance.check(&format!("{}: {name}", self.stem), found, &self.get(name));
    }
}

/// How far a number may be from the reference: the sum of the parts.
#[derive(Debug, Clone, Copy)]
pub struct Tolerance {
    /// Absolute.
    pub absolute: f64,
    /// Relative to each entry.
    pub relative: f64,
    /// Relative to the largest entry of the tensor.
    pub of_largest: f64,
}

impl Tolerance {
    /// The same bits.
    pub const EXACT: Self = Self::absolute(0.0);

    /// Absolute alone.
    pub const fn absolute(absolute: f64) -> Self {
        Self { absolute, relative: 0.0, of_largest: 0.0 }
    }

    /// Relative to each entry, plus absolute.
    pub const fn relative(relative: f64, absolute: f64) -> Self {
        Self { absolute, relative, of_largest: 0.0 }
    }

    /// Relative to the largest entry, plus absolute.
    pub const fn of_largest(of_largest: f64, absolute: f64) -> Self {
        Self { absolute, relative: 0.0, of_largest }
    }

    /// Fails, naming the worst entry, unless `found` is within this distance of `wanted`.
    pub fn check(&self, what: &str, found: &Tensor, wanted: &Tensor) {
        assert_eq!(found.size(), wanted.size(), "{what}: shape");
        let (found, wanted) = (found.detach().to_kind(Kind::Double), wanted.to_kind(Kind::Double));
        assert_eq!(found.isfinite().all().int64_value(&[]), 1, "{what}: not finite");
        let size = wanted.abs();
        let allowed = &size * self.relative + size.max() * self.of_largest + self.absolute;
        let excess = (&found - &wanted).abs() - allowed;
        let worst = excess.reshape([-1]).argmax(0, false).int64_value(&[]);
        let at = |t: &Tensor| t.reshape([-1]).double_value(&[worst]);
        assert!(
            at(&excess) <= 0.0,
            "{what}: {} where {} is expected (entry {worst}); {self:?}",
            at(&found),
            at(&wanted)
        );
    }

    /// The same for one number.
    pub fn check_number(&self, what: &str, found: f64, wanted: f64) {
        self.check(what, &Tensor::from(found), &Tensor::from(wanted));
    }
}

fn folder() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // An absolute path replaces the root.
    root.join(std::env::var_os("ADMIX_GOLDEN").unwrap_or_else(|| "tests/golden".into()))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

#[test]
fn every_tensor_of_every_file_is_read_by_its_check_or_excused() {
    let mut complaints = Vec::new();
    for (stem, check) in CHECKS {
        let golden = Golden::open(stem);
        check(&golden);
        let read = golden.read.borrow();
        let excuses: Vec<_> = UNUSED.iter().filter(|(file, ..)| file == stem).collect();
        for name in golden.names().filter(|name| !read.contains(*name)) {
            if !excuses.iter().any(|(_, pattern, _)| matches(pattern, name)) {
                complaints.push(format!("{stem}: `{name}` is never read"));
            }
        }
        for (_, pattern, _) in excuses {
            let mut excused = golden.names().filter(|name| matches(pattern, name)).peekable();
            if excused.peek().is_none() {
                complaints.push(format!("{stem}: there is no `{pattern}` to excuse"));
            }
            for name in excused.filter(|name| read.contains(*name)) {
                complaints.push(format!("{stem}: `{name}` is excused and read"));
            }
        }
    }
    for (file, pattern, _) in UNUSED {
        if !CHECKS.iter().any(|(stem, _)| stem == file) {
            complaints.push(format!("{file}: `{pattern}` is excused, but no check claims the file"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
