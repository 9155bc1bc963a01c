//! `t.step`, `t.epoch`, `t.progress`, ...: where the run stands, and what moves with it.

use crate::method::handle::Step;
use crate::method::{Entry, line};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.step`, `t.steps`", "optimiser steps done; of the whole run"),
        line("`t.epoch`, `t.epochs`", "epochs done; of the whole run"),
        line("`t.progress`", "`step / steps`, in [0, 1)"),
        line("`t.epoch_progress`", "`epoch / epochs`, in [0, 1): constant during an epoch"),
        line("`t.base_lr`", "the learning rate of the recipe's optimiser"),
        line("`t.base_ema`", "the momentum of the recipe's first pair, 0 without one"),
    ],
    register: |engine| {
        engine
            .register_get("step", |t: &mut Step| t.0.borrow().clock.step as i64)
            .register_get("steps", |t: &mut Step| t.0.borrow().clock.steps as i64)
            .register_get("epoch", |t: &mut Step| t.0.borrow().clock.epoch as i64)
            .register_get("epochs", |t: &mut Step| t.0.borrow().clock.epochs as i64)
            .register_get("progress", |t: &mut Step| t.0.borrow().clock.progress())
            .register_get("epoch_progress", |t: &mut Step| t.0.borrow().clock.epoch_progress())
            .register_get("base_lr", |t: &mut Step| t.0.borrow().base_lr)
            .register_get("base_ema", |t: &mut Step| t.0.borrow().base_ema);
    },
};
