//! Blocks of transformers, pre-norm: attention, then two linear layers with a GELU between them.
//!
//! Names   as in timm: `norm1`, `attn.qkv`, `attn.proj`, `norm2`, `mlp.fc1`, `mlp.fc2`.
//! Init    linear weights from N(0, 0.02^2), biases 0, as in timm.

use admix_api::{Init, Path};
use admix_torch::{Kind, Tensor};

use super::drop_path::DropPath;
use crate::{LayerNorm, Linear, Pass, Result};

/// Initial weights of a linear layer.
pub(super) const INIT: Init = Init::Normal(0.02);

/// Self-attention of several heads: `[N, T, C]` to `[N, T, C]`.
#[derive(Debug)]
pub(super) struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: i64,
}

impl Attention {
    pub(super) fn new(path: &Path, channels: i64, heads: i64) -> Result<Self> {
        Ok(Self {
            qkv: Linear::new(&path.sub("qkv"), channels, 3 * channels, INIT)?,
            proj: Linear::new(&path.sub("proj"), channels, channels, INIT)?,
            heads,
        })
    }

    /// `bias`, `[W, heads, T, T]`, is added to the products of queries and keys before the softmax: that of sample i is
    /// number i modulo W.
    pub(super) fn forward(&self, x: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (n, tokens, channels) = x.size3()?;
        let qkv = self.qkv.forward(x)?.f_reshape([n, tokens, 3, self.heads, channels / self.heads])?;
        let qkv = qkv.f_permute([2, 0, 3, 1, 4])?;
        // Biases of many windows count as heads, so that none is copied for each sample.
        let many = bias.map_or(1, |bias| bias.size()[0]);
        let folded = [n / many, many * self.heads, tokens, channels / self.heads];
        let part = |index: i64| qkv.f_select(0, index)?.f_reshape(folded);
        let (q, k, v) = (part(0)?, part(1)?, part(2)?);
        // A product of lower precision has a bias of the same.
        let bias =
            bias.map(|bias| bias.f_reshape([1, many * self.heads, tokens, tokens])?.f_to_kind(q.kind()));
        let bias = bias.transpose()?;
        let out = Tensor::f_scaled_dot_product_attention(&q, &k, &v, bias, 0.0, false, None, false)?;
        let out = out.f_reshape([n, self.heads, tokens, channels / self.heads])?;
        self.proj.forward(&out.f_transpose(1, 2)?.f_reshape([n, tokens, channels])?)
    }

    /// How much the first token attends to each token, the mean over heads, float32, without a graph: `[N, T, C]` to `[N, T]`
    /// with rows that sum to 1.
    pub(super) fn of_first(&self, x: &Tensor) -> Result<Tensor> {
        let _guard = admix_torch::no_grad();
        let (n, tokens, channels) = x.size3()?;
        let width = channels / self.heads;
        let first =
            self.qkv.part(&x.f_narrow(1, 0, 1)?, 0, channels)?.f_reshape([n, 1, self.heads, width])?;
        let first = first.f_permute([0, 2, 1, 3])?;
        let keys = self.qkv.part(x, channels, channels)?.f_reshape([n, tokens, self.heads, width])?;
        let keys = keys.f_permute([0, 2, 3, 1])?;
        let products = first.f_mul_scalar((width as f64).powf(-0.5))?.f_matmul(&keys)?;
        let shares = products.f_softmax(-1, Kind::Float)?;
        Ok(shares.f_mean_dim([1i64, 2].as_slice(), false, None::<Kind>)?)
    }
}

/// Two linear layers, the hidden one of four times the channels.
#[derive(Debug)]
pub(super) struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    pub(super) fn new(path: &Path, channels: i64) -> Result<Self> {
        Ok(Self {
            fc1: Linear::new(&path.sub("fc1"), channels, 4 * channels, INIT)?,
            fc2: Linear::new(&path.sub("fc2"), 4 * channels, channels, INIT)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.fc1.forward(x)?.f_gelu("none")?)
    }
}

/// `x + attn(norm1(x))`, then `x + mlp(norm2(x))`; samples may skip either.
#[derive(Debug)]
pub(super) struct Block {
    norms: [LayerNorm; 2],
    attention: Attention,
    mlp: Mlp,
    drops: [DropPath; 2],
}

impl Block {
    pub(super) fn new(
        path: &Path,
        channels: i64,
        heads: i64,
        epsilon: f64,
        drops: [DropPath; 2],
    ) -> Result<Self> {
        Ok(Self {
            norms: [
                LayerNorm::new(&path.sub("norm1"), channels, epsilon)?,
                LayerNorm::new(&path.sub("norm2"), channels, epsilon)?,
            ],
            attention: Attention::new(&path.sub("attn"), channels, heads)?,
            mlp: Mlp::new(&path.sub("mlp"), channels)?,
            drops,
        })
    }

    /// Tokens `[N, T, C]` to the same.
    pub(super) fn forward(&self, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.forward_with(x, pass, |attention, x| attention.forward(x, None))
    }

    /// How much the first token attends to each, as [`Attention::of_first`].
    pub(super) fn attention(&self, x: &Tensor) -> Result<Tensor> {
        self.attention.of_first(&self.norms[0].forward(x)?)
    }

    /// As [`forward`](Self::forward) for any axes `[N, .., C]`, with `attend` for the attention.
    pub(super) fn forward_with(
        &self,
        x: &Tensor,
        pass: &Pass,
        attend: impl Fn(&Attention, &Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let [norm1, norm2] = &self.norms;
        let x = x.f_add(&self.drops[0].apply(attend(&self.attention, &norm1.forward(x)?)?, pass)?)?;
        Ok(x.f_add(&self.drops[1].apply(self.mlp.forward(&norm2.forward(&x)?)?, pass)?)?)
    }
}

#[cfg(test)]
mod tests {
    use admix_api::contract::wild;
    use admix_api::{Store, Streams};
    use admix_torch::Device;

    use super::*;

    #[test]
    fn the_first_tokens_attention_is_the_one_that_its_output_is_made_by() -> Result<()> {
        let store = Store::new(Device::Cpu, Streams::new(1));
        let attention = Attention::new(&store.root(), 6, 1)?;
        let x = wild(&[2, 5, 6], 0.3, Kind::Float) * 20.0;
        let shares = attention.of_first(&x)?;
        assert_eq!(shares.size(), [2, 5]);
        assert!(shares.f_max()?.f_double_value(&[])? > 0.3, "not all alike: {shares}");
        let values = attention.qkv.forward(&x)?.f_narrow(2, 12, 6)?;
        let first = attention.proj.forward(&shares.f_unsqueeze(1)?.f_matmul(&values)?)?;
        let wanted = attention.forward(&x, None)?.f_narrow(1, 0, 1)?;
        assert!(first.f_allclose(&wanted, 1e-5, 1e-6, false)?);
        // Of two heads it is the mean of what each has alone.
        let both = Attention::new(&store.root().sub("both"), 6, 2)?;
        let tensor = |name: String| -> Tensor {
            let found = store.tensors().into_iter().find(|(own, _)| *own == name);
            found.unwrap_or_else(|| panic!("there is no {name}")).1
        };
        let mut alone = Vec::new();
        for head in 0..2 {
            let one = Attention::new(&store.root().sub(format!("head{head}")), 3, 1)?;
            let _guard = admix_torch::no_grad();
            for part in 0..3 {
                for (name, columns) in [("weight", 3), ("bias", 1)] {
                    let from = tensor(format!("both.qkv.{name}")).f_narrow(0, 6 * part + 3 * head, 3)?;
                    let from = if columns == 3 { from.f_narrow(1, 0, 3)? } else { from };
                    let mut to = tensor(format!("head{head}.qkv.{name}")).f_narrow(0, 3 * part, 3)?;
                    to.f_copy_(&from)?;
                }
            }
            alone.push(one.of_first(&x.f_narrow(2, 0, 3)?)?);
        }
        // The other half of the channels is 0, so that a head reads the first half alone.
        let half = Tensor::f_cat(&[x.f_narrow(2, 0, 3)?, x.f_narrow(2, 3, 3)?.f_zeros_like()?], 2)?;
        let mean = alone[0].f_add(&alone[1])?.f_div_scalar(2.0)?;
        assert!(both.of_first(&half)?.f_allclose(&mean, 1e-5, 1e-6, false)?);
        assert!(!alone[0].f_allclose(&alone[1], 1e-3, 1e-3, false)?, "the heads differ");
        Ok(())
    }
}
