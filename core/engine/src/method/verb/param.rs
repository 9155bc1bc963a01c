//! `t.param`: a parameter of the method.

use rhai::Dynamic;

use crate::method::handle::{Call, Step, record};
use crate::method::{Entry, line};
use crate::param;

pub const ENTRY: Entry = Entry {
    lines: &[line("`t.param(name)`", "a parameter of the method; numbers are always fractional")],
    register: |engine| {
        engine.register_fn("param", |call: Call<'_>, t: &mut Step, name: &str| {
            record(&call, &t.0, |frame, _| {
                let param: Dynamic = param::named(&frame.params, name)?.into();
                Ok(param)
            })
        });
    },
};
