//! Loggers that a run is given beside those of its recipe.

use admix_api::{Choice, Registry, With};

use super::complaint::Complaint;
use super::read::options;
use super::recipe::Recipe;
use crate::loggers::Logger;
use crate::{Error, Result};

impl Recipe {
    /// Adds a logger: by its name, `tensorboard`, or as a recipe writes it, `TensorBoard(folder: "tb")`. The text of the
    /// recipe stays as it is.
    ///
    /// # Errors
    /// There is no such logger, it cannot have these settings, or it would write what another one writes.
    pub fn log_to(&mut self, written: &str, registry: &Registry) -> Result<()> {
        let refuse = |why: &str| Error::Input(format!("--log-to {written}: {why}"));
        let whole = written.trim();
        let (name, settings) = whole.split_at(whole.find('(').unwrap_or(whole.len()));
        if !name.starts_with(char::is_alphabetic) {
            let all = crate::text::list(registry.names::<dyn Logger>());
            return Err(refuse(&format!("expected the name of a logger: {all}")));
        }
        // The parser of recipes takes no dashes, and no name without parentheses.
        let settings = if settings.is_empty() { "()" } else { settings };
        let text = format!("{}{settings}", name.trim().replace('-', "_"));
        let read = |text: &str| options().from_str_seed(text, With::<Choice<dyn Logger>>::new(registry));
        let choice = read(&text).map_err(|error| {
            refuse(&Complaint::with_names(&error, &text, |text| read(text).err()).message)
        })?;
        self.loggers.push(choice);
        self.unfit_loggers().map_or(Ok(()), |why| Err(refuse(&format!("`loggers` {why}"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(written: &[&str]) -> Result<Vec<String>> {
        let registry = crate::registry().expect("plugins");
        let text = r#"(epochs: 1, method: "mixup", loggers: [JsonLines()])"#;
        let mut recipe = Recipe::parse(text, "x.ron", &[], &registry).expect("a recipe");
        written.iter().try_for_each(|written| recipe.log_to(written, &registry))?;
        assert_eq!(recipe.text, text);
        Ok(recipe.loggers.iter().map(|logger| logger.resolved().to_string()).collect())
    }

    #[test]
    fn a_logger_is_added_by_its_name_or_as_a_recipe_writes_it() {
        let lines = r#"{"plugin":"json-lines","file":"events.jsonl","all":true}"#;
        let other = r#"{"plugin":"json-lines","file":"other.jsonl","all":true}"#;
        let board = |folder| format!(r#"{{"plugin":"tensorboard","folder":"{folder}"}}"#);
        let all =
            with(&["tensorboard", r#" TensorBoard(folder: "tb") "#, r#"json-lines(file: "other.jsonl")"#]);
        assert_eq!(all.expect("loggers"), [lines, &board("tensorboard"), &board("tb"), other]);
    }

    #[test]
    fn what_cannot_be_added_is_told_with_the_flag() {
        for (written, parts) in [
            (
                &["tensorbord"][..],
                &["--log-to tensorbord: ", "no logger named", "Did you mean `tensorboard`?"][..],
            ),
            (&["TensorBoard(folder: 3)"], &["`folder` is 3", "a text in quotes"]),
            (&["TensorBoard(file: \"x\")"], &["unknown field `file`", "folder"]),
            (&["TensorBoard(folder: \"../x\")"], &["`loggers` has `tensorboard`", "folder is ../x"]),
            (&["TensorBoard(folder"], &["--log-to TensorBoard(folder: "]),
            (
                &["tensorboard", "tensorboard"],
                &["has two that write \"tensorboard\"", "a `folder` of its own"],
            ),
            (&["json-lines"], &["has two that write \"events.jsonl\"", "a `file` of its own"]),
            (&[" "], &["expected the name of a logger: ", "tensorboard"]),
            (&["\"x\""], &["--log-to \"x\": expected the name of a logger: ", "tensorboard"]),
        ] {
            let said = with(written).expect_err(written[0]).to_string();
            parts.iter().for_each(|part| assert!(said.contains(part), "`{part}` is not in: {said}"));
        }
    }
}
