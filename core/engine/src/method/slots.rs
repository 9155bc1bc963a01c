//! The slots of a recorded step: its numbers and plans on the device, at places that stay.

use std::collections::BTreeMap;

use admix_api::{Plan, Planned, Value};
use admix_torch::{Device, Kind, Tensor, upload};

use crate::method::cell::Id;
use crate::{Error, Result};

/// An index into the step's numbers. Every number that reaches a verb is one, so that a replay can refill it.
pub type SlotId = usize;

/// The slots of a recorded step on the device, kept from one execution to the next: each stays where it is.
#[derive(Debug, Default)]
pub struct Slots {
    /// By slot: 0-dim float32.
    pub(crate) numbers: Vec<Tensor>,
    /// By handle of the mix, draw or pass.
    pub(crate) plans: BTreeMap<Id, Planned>,
    /// What the slots are windows of, where they were filled together.
    block: Option<Block>,
}

/// The memory of all slots of a step.
#[derive(Debug)]
struct Block {
    /// Whole numbers, then two floats to each: `[I + ceil(F / 2)]` int64.
    all: Tensor,
    /// `[I]` int64, a window of `all`.
    whole: Tensor,
    /// `[F]` or one more, float32, a window of `all`.
    floats: Tensor,
}

/// What a block holds, on the host.
#[derive(Debug, Default)]
struct Image {
    whole: Vec<i64>,
    floats: Vec<f32>,
}

impl Image {
    /// The numbers, then the values of each plan.
    fn of(numbers: &[f64], plans: &BTreeMap<Id, Plan>) -> Self {
        let floats = numbers.iter().map(|value| *value as f32).collect();
        let mut image = Self { whole: Vec::new(), floats };
        for (_, value) in plans.values().flat_map(Plan::values) {
            match value {
                Value::Float(value) => image.floats.push(*value as f32),
                Value::Floats(values) => image.floats.extend(values.iter().map(|value| *value as f32)),
                Value::Int(value) => image.whole.push(*value),
                Value::Ints(values) => image.whole.extend(values),
            }
        }
        image
    }

    fn packed(&self) -> Result<Tensor> {
        let bits = |pair: &[f32]| {
            let bytes = pair.iter().chain(&[0.0]).take(2).flat_map(|value| value.to_ne_bytes());
            let mut eight = [0; 8];
            eight.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
            i64::from_ne_bytes(eight)
        };
        let all: Vec<i64> = self.whole.iter().copied().chain(self.floats.chunks(2).map(bits)).collect();
        Ok(Tensor::f_from_slice(&all)?)
    }

    fn on(&self, device: Device) -> Result<Block> {
        let all = upload(&self.packed()?, device)?;
        let (whole, size) = (self.whole.len() as i64, all.size1()?);
        let floats = all.f_narrow(0, whole, size - whole)?.f_view_dtype(Kind::Float)?;
        Ok(Block { whole: all.f_narrow(0, 0, whole)?, floats, all })
    }

    /// Writes over a block of as many values, in place. Does not wait for the device.
    fn overwrite(&self, block: &Block) -> Result<()> {
        let new = self.packed()?;
        if new.size() != block.all.size() {
            return Err(Error::Input("recorded work has other slots than before".into()));
        }
        let new = upload(&new, block.all.device())?;
        block.all.shallow_clone().f_copy_(&new)?;
        Ok(())
    }
}

/// Hands out a tensor `[M]` from its beginning on.
#[derive(Debug)]
struct Window<'a> {
    from: &'a Tensor,
    next: i64,
}

impl<'a> Window<'a> {
    fn new(from: &'a Tensor) -> Self {
        Self { from, next: 0 }
    }

    /// One value, 0-dim.
    fn one(&mut self) -> Result<Tensor> {
        Ok(self.many(1)?.f_reshape([0i64; 0])?)
    }

    /// `[len]`.
    fn many(&mut self, len: usize) -> Result<Tensor> {
        let part = self.from.f_narrow(0, self.next, len as i64)?;
        self.next += len as i64;
        Ok(part)
    }
}

impl Slots {
    /// Puts a number into its slot, which is made if it is the next one.
    ///
    /// # Errors
    /// libtorch refused.
    pub(crate) fn number(&mut self, device: Device, slot: SlotId, value: f64) -> Result<()> {
        match self.numbers.get_mut(slot) {
            Some(tensor) => drop(tensor.f_fill_(value)?),
            None => self.numbers.push(Tensor::f_full([0i64; 0], value, (Kind::Float, device))?),
        }
        Ok(())
    }

    /// Puts a plan's values into their slots, which are made at the first time.
    ///
    /// # Errors
    /// A plan of another form, or libtorch refused.
    pub(crate) fn plan(&mut self, device: Device, id: Id, plan: &Plan) -> Result<()> {
        match self.plans.get(&id) {
            Some(planned) => plan.fill(planned)?,
            None => drop(self.plans.insert(id, plan.on(device)?)),
        }
        Ok(())
    }

    /// Puts everything of a recorded step into the slots: with one copy to the device, however many there are.
    ///
    /// # Errors
    /// Slots of another structure, or libtorch refused.
    pub(crate) fn fill(&mut self, numbers: &[f64], plans: &BTreeMap<Id, Plan>, device: Device) -> Result<()> {
        let image = Image::of(numbers, plans);
        match &self.block {
            Some(block) => image.overwrite(block),
            None => {
                let block = image.on(device)?;
                self.carve(&block, numbers.len(), plans)?;
                self.block = Some(block);
                Ok(())
            }
        }
    }

    /// Makes the slots: windows of the block, in the order in which [`Image::of`] lists the values.
    fn carve(&mut self, block: &Block, numbers: usize, plans: &BTreeMap<Id, Plan>) -> Result<()> {
        let (mut whole, mut float) = (Window::new(&block.whole), Window::new(&block.floats));
        self.numbers = (0..numbers).map(|_| float.one()).collect::<Result<_>>()?;
        for (id, plan) in plans {
            let mut tensors = BTreeMap::new();
            for (name, value) in plan.values() {
                let slot = match value {
                    Value::Float(_) => float.one()?,
                    Value::Floats(values) => float.many(values.len())?,
                    Value::Int(_) => whole.one()?,
                    Value::Ints(values) => whole.many(values.len())?,
                };
                tensors.insert(name.to_string(), slot);
            }
            self.plans.insert(*id, Planned::of(tensors, plan.structure));
        }
        Ok(())
    }

    /// The slots, by what they are.
    pub(crate) fn tensors(&self) -> Vec<(String, Tensor)> {
        let numbers = self.numbers.iter().enumerate();
        let mut all: Vec<_> =
            numbers.map(|(slot, tensor)| (format!("number {slot}"), tensor.shallow_clone())).collect();
        for (id, planned) in &self.plans {
            all.extend(
                planned.values().map(|(name, tensor)| (format!("plan {id}, {name}"), tensor.shallow_clone())),
            );
        }
        all
    }
}
