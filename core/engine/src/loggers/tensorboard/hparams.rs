//! What TensorBoard's page of hyperparameters shows of a run: its settings, its metric, and that it ended. Numbers of fields
//! are those of the plugin's `plugin_data.proto` and `api.proto`.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::Value as Json;

use super::message::{Event, Value, What};

const PLUGIN: &str = "hparams";
/// How the names of its series begin.
const PREFIX: &str = "_hparams_/";
const SUCCESS: i32 = 1;

#[derive(Clone, PartialEq, Message)]
struct HParamsPluginData {
    #[prost(oneof = "Data", tags = "2, 3, 4")]
    data: Option<Data>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Data {
    #[prost(message, tag = "2")]
    Experiment(Experiment),
    #[prost(message, tag = "3")]
    Start(SessionStartInfo),
    #[prost(message, tag = "4")]
    End(SessionEndInfo),
}

#[derive(Clone, PartialEq, Message)]
struct Experiment {
    #[prost(message, repeated, tag = "4")]
    hparam_infos: Vec<HParamInfo>,
    #[prost(message, repeated, tag = "5")]
    metric_infos: Vec<MetricInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct HParamInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "4")]
    r#type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct MetricInfo {
    #[prost(message, optional, tag = "1")]
    name: Option<MetricName>,
    #[prost(string, tag = "3")]
    display_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct MetricName {
    #[prost(string, tag = "2")]
    tag: String,
}

#[derive(Clone, PartialEq, Message)]
struct SessionStartInfo {
    #[prost(btree_map = "string, message", tag = "1")]
    hparams: BTreeMap<String, Setting>,
    #[prost(double, tag = "5")]
    start_time_secs: f64,
}

#[derive(Clone, PartialEq, Message)]
struct SessionEndInfo {
    #[prost(int32, tag = "1")]
    status: i32,
    #[prost(double, tag = "2")]
    end_time_secs: f64,
}

/// `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct Setting {
    #[prost(oneof = "Kind", tags = "2, 3, 4")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(bool, tag = "4")]
    Flag(bool),
}

impl Kind {
    /// A setting of a recipe; `None` for one that is not set. The page has no lists: they are texts.
    fn of(value: &Json) -> Option<Self> {
        Some(match value {
            Json::Null => return None,
            Json::Bool(flag) => Self::Flag(*flag),
            Json::Number(number) => Self::Number(number.as_f64()?),
            Json::String(text) => Self::Text(text.clone()),
            list => Self::Text(list.to_string()),
        })
    }

    /// The number of its type in the plugin.
    fn type_number(&self) -> i32 {
        match self {
            Self::Text(_) => 1,
            Self::Flag(_) => 2,
            Self::Number(_) => 3,
        }
    }
}

/// A run with these settings starts. Its metric is the last value of the series `tag`, shown as `name`.
pub fn start(settings: &[(String, Json)], metric: Option<(&str, String)>, time: f64) -> Vec<Value> {
    let kinds = || settings.iter().filter_map(|(name, value)| Some((name.clone(), Kind::of(value)?)));
    let infos = kinds().map(|(name, kind)| HParamInfo { name, r#type: kind.type_number() });
    let metric = metric
        .map(|(tag, display_name)| MetricInfo { name: Some(MetricName { tag: tag.into() }), display_name });
    let experiment = Experiment { hparam_infos: infos.collect(), metric_infos: metric.into_iter().collect() };
    let hparams = kinds().map(|(name, kind)| (name, Setting { kind: Some(kind) })).collect();
    vec![
        value("experiment", Data::Experiment(experiment)),
        value("session_start_info", Data::Start(SessionStartInfo { hparams, start_time_secs: time })),
    ]
}

/// The run got to its end.
pub fn end(time: f64) -> Value {
    value("session_end_info", Data::End(SessionEndInfo { status: SUCCESS, end_time_secs: time }))
}

/// Whether an event is of this page. TensorBoard keeps the first that it reads.
pub fn holds(event: &Event) -> bool {
    let Some(What::Summary(summary)) = &event.what else { return false };
    summary.value.iter().any(|value| value.tag.starts_with(PREFIX))
}

fn value(name: &str, data: Data) -> Value {
    let content = HParamsPluginData { data: Some(data) }.encode_to_vec();
    Value::metadata(&format!("{PREFIX}{name}"), PLUGIN, content)
}
