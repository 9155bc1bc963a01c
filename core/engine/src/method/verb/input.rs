//! `t.images`, `t.views[i]`, `t.labels`, ...: what the batch offers.

use crate::method::handle::{Call, Step, ViewsHandle, tensor};
use crate::method::{Cell, Entry, Executing, Frame, Id, Node, Op, Place, line};
use crate::{Error, Result};

pub const ENTRY: Entry = Entry {
    lines: &[
        line("`t.images`", "the batch, `[N, C, H, W]`, normalised and augmented"),
        line(
            "`t.views[i]`",
            "view `i` of the same images, from 0 (that is `t.images`), as many as `data.views` says; `t.views.len()`",
        ),
        line("`t.batch`", "N, how many images the batch has: a whole number"),
        line("`t.labels`", "`[N]`, whole numbers"),
        line("`t.classes`", "how many classes the data have: a whole number, 0 without labels"),
        line("`t.index`", "`[N]`: which samples of the training set these are"),
        line(
            "`t.mean`, `t.std`",
            "`[1, C, 1, 1]`: what images are normalised by. `x * t.std + t.mean` are pixels in [0, 1]",
        ),
    ],
    register: |engine| {
        let all = [
            ("images", Input::Images),
            ("labels", Input::Labels),
            ("index", Input::Index),
            ("mean", Input::Mean),
            ("std", Input::Std),
        ];
        for (name, kind) in all {
            engine.register_get(name, move |call: Call<'_>, t: &mut Step| {
                tensor(&call, &t.0, |frame, at| input(frame, kind, at))
            });
        }
        engine.register_get("classes", |t: &mut Step| t.0.borrow().world().classes);
        engine.register_get("batch", |t: &mut Step| samples(&t.0.borrow()));
        engine.register_get("views", |t: &mut Step| ViewsHandle(t.0.clone()));
        engine.register_fn("len", |views: &mut ViewsHandle| views_of(&views.0.borrow()) as i64);
        engine.register_indexer_get(|call: Call<'_>, views: &mut ViewsHandle, index: i64| {
            tensor(&call, &views.0, |frame, at| view(frame, index, at))
        });
    },
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Input {
    /// `[N, C, H, W]`, normalised: the first view.
    Images,
    /// Another view of the same images, from 1.
    View(usize),
    /// `[N]` int64.
    Labels,
    /// `[N]` int64: which samples of the data set these are.
    Index,
    /// `[1, C, 1, 1]`: an image is `(pixel - mean) / std`.
    Mean,
    /// `[1, C, 1, 1]`.
    Std,
}

/// How many images the batch has; 0 where there is none, in `weights` and `schedule`.
fn samples(frame: &Frame) -> i64 {
    let images = frame.batch.as_ref().map(|batch| batch.images.size());
    images.and_then(|size| size.first().copied()).unwrap_or(0)
}

/// The same handle each time.
fn input(frame: &mut Frame, input: Input, at: Place) -> Result<Id> {
    let key = format!("{input:?}");
    if let Some(id) = frame.asked.inputs.get(&key) {
        return Ok(*id);
    }
    let (split, classes) = (frame.world().split, frame.world().classes);
    if input == Input::Labels && classes == 0 {
        return Err(Error::Input(
            "`t.labels`: the images of the dataset have no labels: choose a method that needs none, such as \"moco\", or give \
             the images class folders, `train/CLASS/IMAGE`, or a list with labels"
                .into(),
        ));
    }
    if input == Input::Labels && !split.labelled() {
        return Err(Error::Input(format!(
            "`t.labels`: the images that are trained on have no labels, or not all of them, as `data.split` is {split}: \
             choose a method that needs none, such as \"moco\", or train on the labelled images, data: (split: Train)"
        )));
    }
    let batch = frame.batch.as_ref();
    let images = match input {
        Input::Images => batch.map(|batch| &batch.images),
        Input::View(view) => batch.and_then(|batch| batch.views.get(view)),
        _ => None,
    };
    let shape = images.and_then(|images| images.size4().ok()).map(|(n, c, h, w)| [n, c, h, w]);
    let id = frame.push(Node::of(input, at).shaped(shape))?;
    frame.asked.inputs.insert(key, id);
    Ok(id)
}

/// How many views the batch has; 0 outside of a step.
fn views_of(frame: &Frame) -> usize {
    frame.batch.as_ref().map_or(0, |batch| batch.views.len())
}

fn view(frame: &mut Frame, view: i64, at: Place) -> Result<Id> {
    let views = views_of(frame);
    match usize::try_from(view) {
        Ok(0) => input(frame, Input::Images, at),
        Ok(number) if number < views => {
            frame.call("views", &number.to_string());
            input(frame, Input::View(number), at)
        }
        _ => Err(Error::Input(format!(
            "the batch has {views} view(s) of each image, from `views[0]`, and no `views[{view}]`; the recipe's `data` \
             says how many: data: (views: 2)"
        ))),
    }
}

impl Op for Input {
    fn execute(&self, step: &mut Executing<'_>) -> Result<Cell> {
        let (mean, std) = &step.world.normalisation;
        let tensor = match self {
            Self::Images => &step.batch.images,
            Self::View(view) => {
                step.batch.views.get(*view).ok_or_else(|| Error::Input("no such view".into()))?
            }
            Self::Labels => &step.batch.labels,
            Self::Index => &step.batch.index,
            Self::Mean => mean,
            Self::Std => std,
        };
        Ok(Cell::Tensor(tensor.shallow_clone()))
    }

    fn works(&self) -> bool {
        false
    }
}
