//! Calls of a method before a run, which find what would fail in it.

use std::collections::BTreeSet;

use admix_data::Batch;
use admix_torch::trail::{self, Fact};
use admix_torch::{Kind, Tensor};

use crate::method::Clock;
use crate::recipe::Recipe;
use crate::session::Session;
use crate::world::is_in;
use crate::{Error, Result};

impl Session {
    /// Calls the method at the start, the middle and the end of a run, on this session's state: a throw-away one. Every
    /// mixer that a choice picks from is tried, and every mixer makes many plans for its images. A further call leaves the
    /// batch unmixed where `prob` or `until` may.
    /// `images` is how many there are and how many channels they have, `views` the height and width of each of their views.
    ///
    /// # Errors
    /// Whatever would fail in the run: unknown verbs, names, weights, wrong keys, spent graphs. A head that is evaluated and that
    /// no term of the calls learns.
    pub fn dry_run(&mut self, images: [i64; 2], classes: i64, views: &[(i64, i64)]) -> Result<Vec<String>> {
        let [samples, channels] = images;
        let device = self.world().device;
        let clock = self.clock();
        // A weight of 0 at all times switches its term off: no slip.
        let mut weighed = BTreeSet::new();
        // Every mixer that a choice picks from has its turn, if need be in further calls at the end.
        let turns = self.world().mixers.iter().map(|unit| unit.picks.len()).max().unwrap_or(0);
        let calls = turns.max(3);
        let may_rest = self.world().mixers.iter().any(|unit| unit.pairing.may_rest());
        for call in 0..calls + usize::from(may_rest) {
            let part = call.min(2) as u64;
            let at = |end: u64| (u128::from(end.saturating_sub(1)) * u128::from(part) / 2) as u64;
            let (step, epoch) = (at(clock.steps), at(clock.epochs));
            self.set_clock(Clock { step, epoch, ..clock });
            trail::tell(Fact::Step, format_args!("dry step {}", call + 1));
            {
                let mut frame = self.frame.borrow_mut();
                (frame.turn, frame.rests) = (Some(call), call == calls);
            }
            let labels = Tensor::f_arange(samples, (Kind::Int64, device))?.f_remainder(classes.max(1))?;
            let index = Tensor::f_arange(samples, (Kind::Int64, device))?;
            let on = self.weights()?.into_iter().filter(|(_, weight)| *weight != 0.0);
            weighed.extend(on.map(|(name, _)| name));
            let made = |(view, (height, width)): (usize, &(i64, i64))| {
                let pixels = samples * channels * height * width;
                let ramp = Tensor::f_arange(pixels, (Kind::Float, device))?.f_sin()?;
                ramp.f_reshape([samples, channels, *height, *width])?.f_add_scalar(view as f64)
            };
            let views = views.iter().enumerate().map(made).collect::<Result<_, _>>()?;
            if let Some(batch) = Batch::of_views(views, labels, index) {
                self.step(batch)?;
            }
        }
        if let Some((height, width)) = views.first() {
            self.frame.borrow_mut().try_rest([samples, channels, *height, *width])?;
        }
        self.refuse_idle_heads()?;
        let unlearned: Vec<String> = {
            let frame = self.frame.borrow();
            weighed.into_iter().filter(|name| !frame.learned.contains(name)).collect()
        };
        Ok(unlearned
            .into_iter()
            .map(|name| {
                format!(
                    "{}: the weight `{name}` is never used: no `learn` of the dry calls has this term",
                    self.method().file()
                )
            })
            .collect())
    }

    /// Whether the method keeps tensors from one step to the next, by its dry calls.
    pub(crate) fn keeps(&self) -> bool {
        self.frame.borrow().keeps
    }

    /// What is odd about the parts of a recipe that no dry call asked for: a slip in a name leaves them without an effect.
    pub(crate) fn uncalled(&self, recipe: &Recipe) -> Vec<String> {
        let frame = self.frame.borrow();
        let mut called = frame.called.clone();
        // What a choice picks from takes part with it.
        let units = &frame.world().mixers;
        for unit in units.iter().filter(|unit| frame.called.contains(&format!("mixers.{}", unit.name))) {
            called.extend(unit.picks.iter().map(|(index, _)| format!("mixers.{}", units[*index].name)));
        }
        let asked = |table: &str| -> Vec<String> {
            let names = called.iter().filter_map(|name| name.strip_prefix(&format!("{table}.")));
            names.map(|name| format!("`{name}`")).collect()
        };
        let file = self.method().file();
        let mut odd = Vec::new();
        for (table, names) in [
            ("mixers", recipe.mixers.iter().map(|(name, _)| name).collect::<Vec<_>>()),
            ("losses", recipe.losses.iter().map(|(name, _)| name).collect()),
            ("queues", recipe.queues.keys().collect()),
            ("clusterers", recipe.clusterers.keys().collect()),
            ("embedding_heads", recipe.embedding_heads.keys().collect()),
        ] {
            for name in names.into_iter().filter(|name| !called.contains(&format!("{table}.{name}"))) {
                let others = match asked(table) {
                    asked if asked.is_empty() => "none".to_string(),
                    asked => asked.join(", "),
                };
                odd.push(format!(
                    "`{table}.{name}` has no effect: no dry call of {file} asks for it; it asks for {others}"
                ));
            }
        }
        if recipe.neck.is_some() && !called.contains("neck.") {
            odd.push(format!("`neck` has no effect: no dry call of {file} asks for an embedding"));
        }
        let views: usize = recipe.data.groups().into_iter().map(|(count, _)| count).sum();
        let unread: Vec<String> = (1..views)
            .filter(|view| !called.contains(&format!("views.{view}")))
            .map(|view| format!("`t.views[{view}]`"))
            .collect();
        if !unread.is_empty() {
            odd.push(format!(
                "`data.views` makes {views} views of each image, and no dry call of {file} reads {}",
                unread.join(", ")
            ));
        }
        odd
    }

    /// Refuses heads that are evaluated and never learned: their accuracy would be that of random weights.
    fn refuse_idle_heads(&self) -> Result<()> {
        let frame = self.frame.borrow();
        let world = frame.world();
        let reached = |owner: &str| frame.reached.iter().any(|group| is_in(owner, group));
        let mut idle = Vec::new();
        for net in world.nets.iter().filter(|net| net.trained) {
            for head in net.network.head_names() {
                if !reached(&format!("net.{}.head.{head}", net.name)) {
                    idle.push((head.to_string(), net.name.clone()));
                }
            }
        }
        for unit in world.heads.iter().filter(|unit| unit.trained) {
            if let Some(net) = unit.evaluated.as_ref().filter(|_| !reached(&format!("head.{}", unit.name))) {
                idle.push((unit.name.clone(), net.clone()));
            }
        }
        let Some((head, net)) = idle.first() else { return Ok(()) };
        Err(Error::Input(format!(
            "{}: the head `{head}` of `{net}` is evaluated and never learned: no `learn` of the dry calls has a term of its logits. \
             Learn it, freeze it by t.freeze, or leave it out of the recipe",
            self.method().file()
        )))
    }

    /// The mixer that refused its images in the dry calls by naming a setting, and why; once.
    pub fn refused_plan(&mut self) -> Option<(String, admix_api::Error)> {
        self.frame.borrow_mut().tryout.refused()
    }
}
