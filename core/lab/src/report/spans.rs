//! Where the time of a step goes, from the trace that `admix run --profile` writes.

use std::collections::BTreeMap;

use serde_json::Value;

/// A part of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What it does.
    pub name: String,
    /// Its own time in all steps of the trace, without that of the parts within, in milliseconds.
    pub own_ms: f64,
    /// How often it ran.
    pub count: u64,
}

/// The parts of a trace in the form of Chrome's, the longest first. None where it cannot be read.
pub(super) fn of(trace: &str) -> Vec<Span> {
    let trace: Value = serde_json::from_str(trace).unwrap_or_default();
    let events = trace["traceEvents"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<(f64, f64, String)> = events
        .iter()
        .filter_map(|event| {
            Some((event["ts"].as_f64()?, event["dur"].as_f64()?, event["name"].as_str()?.to_owned()))
        })
        .collect();
    // The outer part of two that begin together comes first.
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    let mut own: Vec<f64> = all.iter().map(|(_, length, _)| *length).collect();
    let mut open: Vec<usize> = Vec::new();
    for at in 0..all.len() {
        let (begin, length, _) = &all[at];
        while open.last().is_some_and(|outer| all[*outer].0 + all[*outer].1 < begin + length - 1e-6) {
            open.pop();
        }
        if let Some(outer) = open.last() {
            own[*outer] -= length;
        }
        open.push(at);
    }
    let mut by_name: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for ((_, _, name), own) in all.iter().zip(own) {
        let entry = by_name.entry(name).or_default();
        entry.0 += own / 1000.0;
        entry.1 += 1;
    }
    let spans = by_name.into_iter().map(|(name, (own_ms, count))| Span { name: name.into(), own_ms, count });
    let mut spans: Vec<Span> = spans.collect();
    spans.sort_by(|a, b| b.own_ms.total_cmp(&a.own_ms));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_inner_parts_is_not_counted_twice() {
        let event = |name: &str, ts: f64, dur: f64| format!(r#"{{"name":"{name}","ts":{ts},"dur":{dur}}}"#);
        let events = [
            event("step", 0.0, 1000.0),
            event("pass", 0.0, 600.0),
            event("stage", 100.0, 200.0),
            event("stage", 300.0, 200.0),
            event("learn", 600.0, 400.0),
            event("step", 2000.0, 500.0),
        ];
        let spans = of(&format!(r#"{{"traceEvents":[{}]}}"#, events.join(",")));
        let told: Vec<(&str, f64, u64)> =
            spans.iter().map(|span| (span.name.as_str(), span.own_ms, span.count)).collect();
        assert_eq!(told, [("step", 0.5, 2), ("learn", 0.4, 1), ("stage", 0.4, 2), ("pass", 0.2, 1)]);
        assert!(of("no JSON").is_empty());
    }
}
