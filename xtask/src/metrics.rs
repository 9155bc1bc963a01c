//! What run folders say: the accuracies in `metrics.jsonl`, and how long a run took.

use std::collections::BTreeMap;

use serde_json::Value;

/// Where `run.json` has the seconds the whole run took; the first key found counts.
const SECONDS: &[&str] = &["timings.total_s", "wall_s"];
/// An accuracy in `metrics.jsonl` is a number whose flattened key begins and ends like this; between the two
/// stands the name of the head.
const ACCURACY: (&str, &str) = ("heads.", ".top1");

/// The wall time of a run, from its flattened `run.json`.
pub fn seconds(run: &BTreeMap<String, f64>) -> Option<f64> {
    SECONDS.iter().find_map(|key| run.get(*key).copied())
}

/// The accuracies of every head in the lines of a `metrics.jsonl`, by epoch. A line that was cut by a crash is passed
/// over: the run that resumed wrote it again. A resumed run may write an epoch twice, and then the later line counts.
pub fn curves(lines: &str) -> BTreeMap<String, BTreeMap<u64, f64>> {
    let mut series: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    for (number, line) in lines.lines().enumerate() {
        let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
        let epoch = record["epoch"].as_u64().unwrap_or(number as u64);
        for (key, value) in flatten(&record) {
            if let Some(head) = key.strip_prefix(ACCURACY.0).and_then(|k| k.strip_suffix(ACCURACY.1)) {
                series.entry(head.to_string()).or_default().insert(epoch, value);
            }
        }
    }
    series
}

/// All numbers in `value`, by their path with dots between the keys.
pub fn flatten(value: &Value) -> BTreeMap<String, f64> {
    fn walk(value: &Value, path: &str, out: &mut BTreeMap<String, f64>) {
        match value {
            Value::Object(fields) => {
                for (key, inner) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(inner, &path, out);
                }
            }
            other => {
                if let Some(number) = other.as_f64() {
                    out.insert(path.to_string(), number);
                }
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(value, "", &mut out);
    out
}
