//! Mixed samples of a session, as a picture: rows of pairs for each mixer, columns of lambdas (the paper's Fig. 4).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use admix_api::{Draws, Mixed, Streams};
use admix_data::{Batch, Dataset, Split};
use admix_engine::{LAMBDAS, MixReport, Session};
use admix_torch::{Device, Kind, Tensor};
use anyhow::{Context, Result};
use image::RgbImage;

use crate::output;
use crate::picture::{Block, Grid};

/// Pairs of images for each mixer in the picture of a run.
const PAIRS: usize = 3;
/// The pairs of a run's picture never change, so that pictures of two epochs or two runs can be compared.
pub const SEED: u64 = 2;

/// Writes the picture of a run: every mixer of its recipe. False without mixers: then there is nothing to draw.
pub fn write(session: &mut Session, dataset: &Dataset, path: &Path) -> Result<bool> {
    let mixers: Vec<String> = session.world().mixers.iter().map(|mixer| mixer.name.clone()).collect();
    let mixers = shown(session, &mixers)?;
    if mixers.is_empty() {
        return Ok(false);
    }
    let pairs = choose_pairs(dataset, PAIRS, &mut draws(SEED, "pairs"))?;
    save(&grid(session, dataset, &mixers, &pairs, &LAMBDAS, SEED)?.render(), path, true)?;
    Ok(true)
}

/// The mixers that are drawn for these names, each once: in place of a choice those that it picks from.
pub fn shown(session: &Session, names: &[String]) -> Result<Vec<String>> {
    let mut mixers: Vec<String> = Vec::new();
    for name in names {
        for mixer in session.mixers_of(name)? {
            if !mixers.contains(&mixer) {
                mixers.push(mixer);
            }
        }
    }
    Ok(mixers)
}

/// The stream of a picture's choices.
pub fn draws(seed: u64, what: &str) -> Draws {
    Streams::new(seed).draws("picture", what, 0, 0)
}

/// Writes a picture whole or not at all; over another one only if `force`.
pub fn save(picture: &RgbImage, path: &Path, force: bool) -> Result<()> {
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).context("cannot encode a PNG")?;
    output::save(path, png.get_ref(), force).with_context(|| format!("cannot write {}", path.display()))
}

/// The images that are drawn: a set without test images has training images only.
fn drawn(dataset: &Dataset) -> Split {
    if dataset.is_empty(Split::Test) { Split::Train } else { Split::Test }
}

/// Pairs of test images of different classes, own classes all different as long as there are enough.
pub fn choose_pairs(dataset: &Dataset, count: usize, draws: &mut Draws) -> Result<Vec<(i64, i64)>> {
    let labels: Vec<i64> = Vec::try_from(&dataset.labels(drawn(dataset)).f_to_device(Device::Cpu)?)?;
    Ok(pair_up(&labels, &draws.permutation(labels.len()), count))
}

/// Walks through `order`: an own image of a class not used yet, then the next image of another class.
fn pair_up(labels: &[i64], order: &[i64], count: usize) -> Vec<(i64, i64)> {
    let label = |at: i64| labels[at as usize];
    let mut pairs: Vec<(i64, i64)> = Vec::new();
    let mut rest = order.to_vec();
    while pairs.len() < count && rest.len() > 1 {
        let used = |at: i64| pairs.iter().any(|(own, _)| label(*own) == label(at));
        let own = rest.remove(rest.iter().position(|at| !used(*at)).unwrap_or(0));
        let partner = rest.remove(rest.iter().position(|at| label(*at) != label(own)).unwrap_or(0));
        pairs.push((own, partner));
    }
    pairs
}

/// Mixes the pairs with each mixer at each lambda. A mixer that may mix inside of the network is drawn as it mixes
/// images, and its name says so.
pub fn grid(
    session: &mut Session,
    dataset: &Dataset,
    mixers: &[String],
    pairs: &[(i64, i64)],
    lambdas: &[f64],
    seed: u64,
) -> Result<Grid> {
    let n = pairs.len() as i64;
    // The own images, then the partners: each is the other's partner.
    let both: Vec<Batch> = pairs
        .iter()
        .map(|(own, _)| *own)
        .chain(pairs.iter().map(|(_, partner)| *partner))
        .map(|at| Ok(dataset.clean_batch(drawn(dataset), at as usize, 1)?))
        .collect::<Result<_>>()?;
    let images = Tensor::f_cat(&both.iter().map(|one| &one.images).collect::<Vec<_>>(), 0)?;
    // Classes stand in for clusters.
    let labels = Tensor::f_cat(&both.iter().map(|one| &one.labels).collect::<Vec<_>>(), 0)?;
    // Without classes all are of one cluster.
    let labels = labels.f_clamp_min(0)?;
    let partner: Vec<i64> = (0..2 * n).map(|i| (i + n) % (2 * n)).collect();
    let looks = Looks::of(dataset);
    let originals = looks.pictures(&images)?;

    // The mask that is shown is the one nearest to 0.5.
    let middle =
        (0..lambdas.len()).min_by(|a, b| (lambdas[*a] - 0.5).abs().total_cmp(&(lambdas[*b] - 0.5).abs()));
    let mut headings = vec!["A".to_string(), "B".to_string()];
    headings.extend(lambdas.iter().map(|lambda| format!("λ={lambda}")));
    headings.extend(middle.map(|at| format!("mask {}", lambdas[at])));
    let mut blocks = Vec::new();
    let mut extras: Vec<BTreeMap<String, Vec<RgbImage>>> = Vec::new();
    for mixer in mixers {
        let mut columns: Vec<Vec<RgbImage>> = Vec::new();
        let mut masks = None;
        for (index, lambda) in lambdas.iter().enumerate() {
            // The same draws at every lambda: boxes stay in their place and only grow.
            let plan = session.plan_for(mixer, &images, *lambda, &partner, &mut draws(seed, mixer))?;
            let mix = session.mix(mixer, &images, &labels, &plan)?;
            columns.push(looks.pictures(&mix.images)?);
            if Some(index) == middle {
                masks = mix.mask.as_ref().map(masks_as_pictures).transpose()?;
                extras.push(looks.extras(&mix, &images)?);
            }
        }
        let n = n as usize;
        let rows = (0..n).map(|row| {
            let mut cells = vec![Some(originals[row].clone()), Some(originals[n + row].clone())];
            cells.extend(columns.iter().map(|column| Some(column[row].clone())));
            cells.push(masks.as_ref().map(|masks| masks[row].clone()));
            cells
        });
        let inside =
            session.world().mixers.iter().any(|unit| unit.name == *mixer && unit.needs.hidden.is_some());
        let name = if inside { format!("{mixer} (at stage 0)") } else { mixer.clone() };
        blocks.push(Block { name, rows: rows.collect() });
    }
    let names: BTreeSet<&String> = extras.iter().flat_map(BTreeMap::keys).collect();
    for (block, own) in blocks.iter_mut().zip(&extras) {
        for (row, cells) in block.rows.iter_mut().enumerate() {
            cells.extend(names.iter().map(|name| own.get(*name).map(|pictures| pictures[row].clone())));
        }
    }
    headings.extend(names.into_iter().cloned());
    Ok(Grid { headings, blocks })
}

/// How normalised images become bytes again.
struct Looks {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Looks {
    fn of(dataset: &Dataset) -> Self {
        Self { mean: dataset.info().mean.clone(), std: dataset.info().std.clone() }
    }

    /// `[N, C, H, W]`, normalised, as pictures.
    fn pictures(&self, images: &Tensor) -> Result<Vec<RgbImage>> {
        let per_channel = |values: &[f32]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(values)?.f_reshape([1, -1, 1, 1])?.f_to_device(images.device())?)
        };
        let pixels = images.f_mul(&per_channel(&self.std)?)?.f_add(&per_channel(&self.mean)?)?;
        pictures(&pixels)
    }

    /// What a mixer shows beside images and mask, under its names: maps, and [`Mixed::PLACED`] images; other tensors are left out.
    /// The saliency that it was given is called `gradient`, as it is that of the loss for the pixels: a method may give its mixer
    /// another.
    fn extras(&self, mix: &MixReport, images: &Tensor) -> Result<BTreeMap<String, Vec<RgbImage>>> {
        let (n, _, height, width) = images.size4()?;
        let given = mix.saliency.iter().filter(|_| !mix.extras.contains_key(Mixed::SALIENCY));
        let all = mix.extras.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let mut found = BTreeMap::new();
        for (name, tensor) in given.map(|saliency| ("gradient", saliency)).chain(all) {
            let shown = match tensor.size()[..] {
                _ if name == Mixed::PLACED && tensor.size() == images.size() => self.pictures(tensor)?,
                [k, h, w] | [k, 1, h, w] if (h, w) == (height, width) && (k == 1 || k == n) => {
                    maps_as_pictures(tensor, n)?
                }
                _ => continue,
            };
            found.insert(name.to_string(), shown);
        }
        Ok(found)
    }
}

/// `[N, 1, H, W]` in [0, 1] as grey pictures.
fn masks_as_pictures(masks: &Tensor) -> Result<Vec<RgbImage>> {
    pictures(masks)
}

/// Maps `[1 or N, H, W]` or `[1 or N, 1, H, W]` as `n` grey pictures, each as bright as it gets; what is below 0 is black.
fn maps_as_pictures(maps: &Tensor, n: i64) -> Result<Vec<RgbImage>> {
    let size = maps.size();
    let [.., height, width] = size[..] else { return Ok(Vec::new()) };
    let maps = maps.f_to_kind(Kind::Float)?.f_reshape([-1, 1, height, width])?;
    let most = maps.f_amax([1i64, 2, 3].as_slice(), true)?.f_clamp_min(1e-30)?;
    pictures(&maps.f_div(&most)?.f_expand([n, 1, height, width], false)?)
}

/// `[N, C, H, W]` in [0, 1] as pictures: one or two channels are grey, of more than three the first three are shown.
fn pictures(pixels: &Tensor) -> Result<Vec<RgbImage>> {
    let (n, channels, height, width) = pixels.size4()?;
    let shown = if channels < 3 {
        pixels.f_narrow(1, 0, 1)?.f_expand([n, 3, height, width], false)?
    } else {
        pixels.f_narrow(1, 0, 3)?
    };
    let bytes = shown
        .f_to_kind(Kind::Float)?
        .f_clamp(0.0, 1.0)?
        .f_mul_scalar(255.0)?
        .f_round()?
        .f_permute([0, 2, 3, 1])?
        .f_to_kind(Kind::Uint8)?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?
        .f_reshape([-1])?;
    let bytes: Vec<u8> = Vec::try_from(&bytes)?;
    let (height, width) = (u32::try_from(height)?, u32::try_from(width)?);
    let per_image = (3 * height * width) as usize;
    bytes
        .chunks_exact(per_image.max(1))
        .map(|image| RgbImage::from_raw(width, height, image.to_vec()).context("a picture of the wrong size"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_of_two_classes_and_own_classes_differ() {
        let labels = [0, 0, 0, 1, 1, 2, 2, 2];
        let order: Vec<i64> = (0..8).collect();
        assert_eq!(pair_up(&labels, &order, 3), [(0, 3), (4, 1), (5, 2)]);
        assert_eq!(pair_up(&labels, &order, 9).len(), 4, "as many as there are images");
        assert_eq!(pair_up(&[5, 5], &[1, 0], 1), [(1, 0)], "one class only");
        assert!(pair_up(&[1], &[0], 1).is_empty());
    }

    #[test]
    fn extras_that_are_pictures_are_shown_and_a_given_saliency_is_called_gradient() {
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
        let images = zeros(&[2, 1, 2, 2]);
        let map = Tensor::from_slice(&[0f32, 1.0, 2.0, 4.0]).reshape([1, 2, 2]);
        let mut mix = MixReport {
            images: images.shallow_clone(),
            mask: None,
            stage: 0,
            lambda: zeros(&[2]),
            partner: None,
            saliency: Some(map.shallow_clone()),
            extras: BTreeMap::from([
                ("placed".to_string(), images.shallow_clone()),
                ("scores".to_string(), zeros(&[2, 7])),
                ("prototypes".to_string(), zeros(&[7, 2, 2])),
                ("where".to_string(), map.reshape([1, 1, 2, 2])),
            ]),
        };
        let looks = Looks { mean: vec![0.5], std: vec![0.25] };
        let shown = looks.extras(&mix, &images).expect("pictures");
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["gradient", "placed", "where"]);
        assert!(shown.values().all(|pictures| pictures.len() == 2));
        let greys: Vec<u8> = shown["gradient"][1].pixels().map(|pixel| pixel[0]).collect();
        assert_eq!(greys, [0, 64, 128, 255]);
        mix.extras.insert(Mixed::SALIENCY.into(), map);
        let shown = looks.extras(&mix, &images).expect("pictures");
        assert_eq!(shown.keys().collect::<Vec<_>>(), ["placed", "saliency", "where"]);
    }

    #[test]
    fn normalised_grey_images_become_bytes_again() {
        let looks = Looks { mean: vec![0.5], std: vec![0.25] };
        let images = Tensor::from_slice(&[0.0f32, 2.0, -2.0, 9.0]).reshape([1, 1, 2, 2]);
        let pictures = looks.pictures(&images).expect("pictures");
        assert_eq!(pictures.len(), 1);
        assert_eq!(pictures[0].as_raw().as_slice(), [128, 128, 128, 255, 255, 255, 0, 0, 0, 255, 255, 255]);
    }
}
