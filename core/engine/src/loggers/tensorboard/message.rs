//! The messages of event files: of each the fields that are written here. Their numbers are those of `event.proto`,
//! `summary.proto` and `tensor.proto` of TensorBoard.

use prost::{Message, Oneof};

/// The version of event files whose readers heed the start of a part.
pub const VERSION: &str = "brain.Event:2";
/// Status of a [`SessionLog`]: what was read before of this step and of later ones is out of date.
pub const START: i32 = 1;
const FLOAT: i32 = 1;
const STRING: i32 = 7;
const RGB: i32 = 3;
/// The class of data of texts and of what only has metadata.
const TENSOR: i32 = 2;

/// What a record of an event file holds.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Optimiser steps done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    /// What happened.
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

/// What happened.
#[derive(Clone, PartialEq, Oneof)]
pub enum What {
    /// A file begins.
    #[prost(string, tag = "3")]
    FileVersion(String),
    /// There are new values.
    #[prost(message, tag = "5")]
    Summary(Summary),
    /// A part of a run begins.
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

/// Where a run stands.
#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// [`START`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// Values of one step.
#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A value of a series.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    /// The name of the series.
    #[prost(string, tag = "1")]
    pub tag: String,
    /// Who shows it, where its form does not tell.
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
    /// The value itself.
    #[prost(oneof = "Form", tags = "2, 4, 8")]
    pub form: Option<Form>,
}

/// The forms of values.
#[derive(Clone, PartialEq, Oneof)]
pub enum Form {
    /// A number.
    #[prost(float, tag = "2")]
    Scalar(f32),
    /// A picture.
    #[prost(message, tag = "4")]
    Image(Image),
    /// Texts, or nothing.
    #[prost(message, tag = "8")]
    Tensor(Tensor),
}

/// A picture.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    #[prost(int32, tag = "3")]
    colorspace: i32,
    /// The file.
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// Who shows a value.
#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(message, optional, tag = "1")]
    plugin_data: Option<PluginData>,
    #[prost(int32, tag = "4")]
    data_class: i32,
}

#[derive(Clone, PartialEq, Message)]
struct PluginData {
    #[prost(string, tag = "1")]
    plugin_name: String,
    #[prost(bytes = "vec", tag = "2")]
    content: Vec<u8>,
}

/// An array.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<TensorShape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    string_val: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

impl Value {
    /// A number.
    pub fn scalar(tag: impl Into<String>, value: f64) -> Self {
        Self { tag: tag.into(), metadata: None, form: Some(Form::Scalar(value as f32)) }
    }

    /// A PNG, as it is in its file. `None` if the bytes are no PNG.
    pub fn png(tag: &str, bytes: Vec<u8>) -> Option<Self> {
        let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?.get(4..16)?.strip_prefix(b"IHDR")?;
        let side = |at: usize| Some(i32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (width, height) = (side(0)?, side(4)?);
        let image = Image { height, width, colorspace: RGB, encoded_image_string: bytes };
        Some(Self { tag: tag.into(), metadata: None, form: Some(Form::Image(image)) })
    }

    /// A text in Markdown.
    pub fn text(tag: &str, text: String) -> Self {
        let tensor = Tensor {
            dtype: STRING,
            tensor_shape: Some(TensorShape { dim: Vec::new() }),
            string_val: vec![text.into_bytes()],
        };
        Self { form: Some(Form::Tensor(tensor)), ..Self::metadata(tag, "text", Vec::new()) }
    }

    /// What a plugin of TensorBoard reads from the metadata of a series. Without a value some readers pass over it.
    pub fn metadata(tag: &str, plugin: &str, content: Vec<u8>) -> Self {
        let plugin_data = Some(PluginData { plugin_name: plugin.into(), content });
        let nothing = TensorShape { dim: vec![Dim { size: 0 }] };
        let tensor = Tensor { dtype: FLOAT, tensor_shape: Some(nothing), string_val: Vec::new() };
        Self {
            tag: tag.into(),
            metadata: Some(Metadata { plugin_data, data_class: TENSOR }),
            form: Some(Form::Tensor(tensor)),
        }
    }
}
