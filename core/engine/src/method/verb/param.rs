//! `t.param` and `t.count`: a parameter of the method.

use rhai::Dynamic;

use crate::method::handle::{Call, Step, record};
use crate::method::{Entry, line};
use crate::param;

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.param(name)`", "a parameter of the method; numbers are always fractional"),
        line("`t.count(name, least)`", "the same as a whole number from `least`; any other is an error"),
    ],
    register: |engine| {
        engine.register_fn("param", |call: Call<'_>, t: &mut Step, name: &str| {
            record(&call, &t.0, |frame, _| {
                let param: Dynamic = param::named(&frame.params, name)?.into();
                Ok(param)
            })
        });
        engine.register_fn("count", |call: Call<'_>, t: &mut Step, name: &str, least: i64| {
            record(&call, &t.0, |frame, _| param::count(&frame.params, name, least))
        });
    },
};
