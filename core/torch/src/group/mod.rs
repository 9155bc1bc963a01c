//! Processes that work together: libtorch's own collectives, and errors that name the process to blame.
//!
//! | file | what it holds |
//! |---|---|
//! | `buckets.rs` | many tensors moved as few |
//! | `collectives.rs` | the collectives of a backend |
//! | `error.rs` | what goes wrong between processes |
//! | `failure.rs` | who is to blame for a failed collective |
//! | `lifelines.rs` | which process has ended |
//! | `meeting.rs` | how processes find each other |
//! | `membership.rs` | a process's place in a group |
//! | `store.rs` | keys that all processes see |
//! | `sum.rs` | a sum that gradients pass |

mod buckets;
mod collectives;
mod error;
mod failure;
mod lifelines;
mod meeting;
mod membership;
mod store;
mod sum;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use tch::{Kind, Tensor};

use crate::{Error, Result, no_grad};
use buckets::through_buckets;
use collectives::Collectives;
use lifelines::Lifelines;
use store::Store;

pub use buckets::LARGEST_BUCKET;
pub use error::GroupError;
pub use membership::Membership;

/// A group of processes that this one has joined.
///
/// All processes make the same calls in the same order, with tensors of the same shapes and dtypes. A call waits for the
/// others up to the time-out, and ends when its result is there; on a GPU, when it is in the stream. After an error the group has ended: the error says which
/// process did not come, ended or stopped, and further calls fail.
#[derive(Debug)]
pub struct Group {
    member: Membership,
    /// How many collectives were called; the same number in all processes.
    calls: Cell<u64>,
    /// The first error.
    ended: RefCell<Option<String>>,
    // Closed in this order: who sees a broken connection of the backend finds the lifeline broken too.
    lifelines: Lifelines,
    collectives: RefCell<Option<Collectives>>,
    store: Store,
}

impl Group {
    /// Joins the group; waits for all its processes.
    ///
    /// Errors: a process that does not come in time, a store that cannot be opened or reached, a number that another
    /// process has, a device whose backend is not built in.
    pub fn join(member: &Membership) -> Result<Self> {
        member.check()?;
        let (store, lifelines) = meeting::meet(member)?;
        let began = Instant::now();
        let collectives = Collectives::join(&store, member).map_err(|error| {
            let late = member.is_late(began);
            failure::explain(member, &store, &lifelines, meeting::START, late, error.to_string())
        })?;
        Ok(Group {
            member: member.clone(),
            calls: Cell::new(0),
            ended: RefCell::new(None),
            lifelines,
            collectives: RefCell::new(Some(collectives)),
            store,
        })
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.member.rank
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.member.processes
    }

    /// Adds up each tensor over all processes, in place and without a graph, through flat buckets of one dtype of at most
    /// [`LARGEST_BUCKET`] bytes. All processes get the same bits.
    ///
    /// Errors: other devices than the group's, dtypes that the backend does not add.
    pub fn all_reduce(&self, tensors: &[Tensor]) -> Result<()> {
        self.accept("all_reduce", tensors)?;
        through_buckets(tensors, LARGEST_BUCKET, |flat| {
            self.call("all_reduce", |collectives| collectives.all_reduce(flat, false))
        })
    }

    /// Copies each tensor of process `root` into those of the others, in place and without a graph, through buckets as
    /// [`all_reduce`](Self::all_reduce).
    ///
    /// Errors: as there; a process that does not exist.
    pub fn broadcast(&self, tensors: &[Tensor], root: usize) -> Result<()> {
        self.accept("broadcast", tensors)?;
        if root >= self.processes() {
            let problem = format!("there is no process {root} of {}", self.processes());
            return Err(GroupError::Value { call: "broadcast", problem }.into());
        }
        through_buckets(tensors, LARGEST_BUCKET, |flat| {
            self.call("broadcast", |collectives| collectives.broadcast(flat, root))
        })
    }

    /// The tensors `[N, ..]` of the P processes, one after the other: `[P N, ..]`, without a graph.
    ///
    /// Errors: as [`all_reduce`](Self::all_reduce); a tensor without dimensions.
    pub fn all_gather(&self, tensor: &Tensor) -> Result<Tensor> {
        self.accept("all_gather", std::slice::from_ref(tensor))?;
        if tensor.dim() == 0 {
            let problem = "a tensor without dimensions, expected [N, ..]".into();
            return Err(GroupError::Value { call: "all_gather", problem }.into());
        }
        let _guard = no_grad();
        self.call("all_gather", |collectives| collectives.all_gather(tensor))
    }

    /// Waits until all processes are here.
    pub fn barrier(&self) -> Result<()> {
        self.call("barrier", Collectives::barrier)
    }

    /// The largest of the processes' values.
    pub fn agree_max(&self, value: i64) -> Result<i64> {
        let tensor = Tensor::from_slice(&[value]);
        self.call("agree_max", |collectives| collectives.all_reduce(&tensor, true))?;
        Ok(tensor.f_int64_value(&[0])?)
    }

    /// Of each flag whether any process has it.
    pub fn any(&self, flags: &[bool]) -> Result<Vec<bool>> {
        let flags: Vec<u8> = flags.iter().map(|flag| u8::from(*flag)).collect();
        let found = Tensor::f_from_slice(&flags)?;
        self.call("any", |collectives| collectives.all_reduce(&found, true))?;
        Ok(Vec::<u8>::try_from(found)?.into_iter().map(|flag| flag > 0).collect())
    }

    /// The texts of all processes, in their order; each may be of another length.
    pub fn gather_text(&self, text: &str) -> Result<Vec<String>> {
        let gather = |tensor: &Tensor| self.call("gather_text", |collectives| collectives.all_gather(tensor));
        let lengths = gather(&Tensor::from_slice(&[text.len() as i64]))?;
        let lengths: Vec<usize> =
            Vec::<i64>::try_from(lengths)?.into_iter().map(|length| length as usize).collect();
        // One byte at least: there is always something to gather.
        let width = lengths.iter().copied().max().unwrap_or(0).max(1);
        let mut padded = text.as_bytes().to_vec();
        padded.resize(width, 0);
        let all: Vec<u8> = gather(&Tensor::from_slice(&padded))?.try_into()?;
        let texts = all.chunks(width).zip(lengths);
        Ok(texts.map(|(bytes, length)| String::from_utf8_lossy(&bytes[..length]).into_owned()).collect())
    }

    /// Ends the group for a reason that the other processes give as theirs: a full disk, a failed step.
    pub fn stop(&self, reason: &str) {
        if self.ended.borrow().is_some() {
            return;
        }
        failure::stop(&self.member, &self.store, &self.lifelines, reason, || self.close(reason));
    }

    /// Leaves a group that is done. The process with the store waits until nobody needs it.
    ///
    /// Errors: another process that did not get here.
    pub fn leave(self) -> Result<()> {
        self.call("leave", Collectives::barrier)?;
        self.store.set(&format!("left/{}", self.rank()), "")?;
        failure::linger(&self.member, &self.lifelines, Instant::now() + self.member.timeout, |process| {
            !matches!(self.store.get(&format!("left/{process}")), Ok(None))
        });
        Ok(())
    }

    /// Makes a collective; finds out what made it fail.
    fn call<R>(&self, name: &str, body: impl FnOnce(&Collectives) -> Result<R>) -> Result<R> {
        let ended = || GroupError::Ended(self.ended.borrow().clone().unwrap_or_default());
        self.calls.set(self.calls.get() + 1);
        let began = Instant::now();
        let outcome = match &*self.collectives.borrow() {
            Some(collectives) => body(collectives),
            None => return Err(ended().into()),
        };
        outcome.map_err(|error| {
            let late = self.member.is_late(began);
            self.close("");
            let at = format!("{name} (call {} of the group)", self.calls.get());
            let words = error.to_string();
            let error = failure::explain(&self.member, &self.store, &self.lifelines, &at, late, words);
            *self.ended.borrow_mut() = Some(error.to_string());
            error.into()
        })
    }

    /// Breaks this process's connections to the others, so that they notice.
    fn close(&self, why: &str) {
        *self.ended.borrow_mut() = Some(why.to_string());
        if let Some(collectives) = self.collectives.borrow_mut().take() {
            collectives.abort();
        }
    }

    /// Refuses what the backend would refuse in the middle of a call, which ends the group for all.
    fn accept(&self, call: &'static str, tensors: &[Tensor]) -> Result<()> {
        use Kind::{BFloat16, Double, Float, Half, Int, Int8, Int64, Uint8};
        for tensor in tensors {
            let (device, kind) = (tensor.device(), tensor.kind());
            let problem = if device.is_cuda() != self.member.device.is_cuda() {
                format!("a tensor is on {device:?}, the group's are on {:?}", self.member.device)
            } else if ![BFloat16, Double, Float, Half, Int, Int8, Int64, Uint8].contains(&kind) {
                format!("a tensor is of {kind:?}, expected numbers of another dtype")
            } else {
                continue;
            };
            return Err(Error::Group(GroupError::Value { call, problem }));
        }
        Ok(())
    }
}
