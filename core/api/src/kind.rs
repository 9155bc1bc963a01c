//! What a recipe can name with settings: the kinds.
//!
//! A kind is a trait object, `dyn Mixer`, with a word, the type of its settings, and a contract. Code that works on
//! entries of any kind goes through [`Kind`], so that no list of kinds exists anywhere.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use erased_serde::Deserializer as AnyDeserializer;
use serde_json::Value as Json;

use crate::Result;
use crate::contract::{Ledger, Promise, Settings, examined};
use crate::served::{Served, ServedSetting, Taken, sift};

/// A kind of entry, implemented for the trait object that the entries build: `impl Kind for dyn Mixer`.
///
/// ```
/// use admix_api::{Kind, Loss, Mixer, Registry};
///
/// fn known<K: Kind + ?Sized>(registry: &Registry) -> String {
///     format!("{} {}", registry.of::<K>().count(), K::WORD)
/// }
///
/// assert_eq!(known::<dyn Mixer>(&Registry::default()), "0 mixer");
/// assert_eq!(known::<dyn Loss>(&Registry::default()), "0 loss");
/// ```
pub trait Kind: 'static {
    /// The word for one entry: "mixer".
    const WORD: &'static str;
    /// An entry as a recipe writes it, for messages: "CutMix(alpha: 1.0)".
    const EXAMPLE: &'static str;
    /// Whether a recipe may leave out the parentheses of an entry without settings: `Name` for `Name()`.
    const BARE: bool = false;
    /// The settings of an entry, which build it.
    type Config: ?Sized + fmt::Debug + 'static;
    /// The settings that the host serves for every entry of the kind; `()` for none.
    type Served: Served;

    /// What the message for an unknown name adds on where more entries come from.
    const MORE: &'static str = "";

    /// The promises of [`check`](Kind::check), in the order in which they are reported.
    fn promises() -> Vec<Promise>;

    /// Checks the settings' ranges, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    fn validate(config: &Self::Config) -> Result<()>;

    /// The settings in full, defaults included.
    fn resolved(config: &Self::Config) -> Json;

    /// Holds an entry with these settings to the kind's promises. `at` names the settings in messages.
    fn check(choice: &Choice<Self>, at: &str, ledger: &mut Ledger);

    /// What `admix plugins` says of an entry beside its settings, as (word, texts). `config` is `None` for an entry whose
    /// settings cannot be read here.
    fn facts(config: Option<&Self::Config>) -> Result<Vec<(&'static str, Vec<String>)>> {
        let _ = config;
        Ok(Vec::new())
    }

    /// Settings of the host that play no part in an entry.
    fn ignores(config: &Self::Config) -> &'static [&'static str] {
        let _ = config;
        &[]
    }

    /// The host's settings that a recipe does not name, where an entry's own settings decide on them; `entry` holds the entry's
    /// defaults.
    fn defaults(config: &Self::Config, entry: &Self::Served) -> Self::Served {
        let _ = config;
        entry.clone()
    }

    /// A line of a recipe that uses the entry `name`: `written` is the entry as a recipe writes it.
    fn in_recipe(name: &str, written: &str) -> String;

    /// The other entries of the kind that an entry with these settings names, which a recipe must hold as well.
    fn names_others(config: &Self::Config) -> Vec<String> {
        let _ = config;
        Vec::new()
    }
}

/// The part of an [`impl Kind`](Kind) that is the same for every kind with settings that check and show themselves and a
/// module `contract` with `PROMISES` and `check`.
#[macro_export]
macro_rules! by_contract {
    ($contract:ident) => {
        fn promises() -> ::std::vec::Vec<$crate::contract::Promise> {
            $contract::PROMISES.to_vec()
        }

        fn validate(config: &Self::Config) -> $crate::Result<()> {
            config.validate()
        }

        fn resolved(config: &Self::Config) -> $crate::serde_json::Value {
            config.resolved()
        }

        fn check(choice: &$crate::Choice<Self>, at: &str, ledger: &mut $crate::contract::Ledger) {
            $contract::check(choice.config.as_ref(), at, ledger);
        }
    };
}

/// Reads the settings of one entry.
pub type ReadConfig<K> =
    Rc<dyn Fn(&mut dyn AnyDeserializer<'_>) -> Result<Box<<K as Kind>::Config>, erased_serde::Error>>;

/// How an entry's settings are read: its own by `read`, those that the host serves into `served`, which holds the
/// entry's defaults of them.
pub struct Reader<K: Kind + ?Sized> {
    /// Reads the entry's own settings.
    pub read: ReadConfig<K>,
    /// The entry's defaults of the settings that the host serves.
    pub served: K::Served,
}

impl<K: Kind + ?Sized> Reader<K> {
    /// Reads settings, those of the host among them.
    ///
    /// # Errors
    /// The format's own: an unknown field, a wrong type.
    pub(crate) fn choose(
        &self,
        entry: &str,
        body: &mut dyn AnyDeserializer<'_>,
    ) -> Result<Choice<K>, erased_serde::Error> {
        let (config, taken) = sift(self.read.as_ref(), &self.served, body)?;
        let Taken { served: read, given } = taken;
        let mut served = K::defaults(&config, &self.served);
        for field in &given {
            served.copy(field, &read);
        }
        Ok(Choice { plugin: entry.to_string(), served, given, config: Rc::from(config) })
    }
}

/// An entry with its settings, as a recipe chooses it.
pub struct Choice<K: Kind + ?Sized> {
    /// The entry's name.
    pub plugin: String,
    /// The settings that the host serves.
    pub served: K::Served,
    /// Those of them that the recipe names.
    pub given: Vec<&'static str>,
    /// The entry's own settings.
    pub config: Rc<K::Config>,
}

impl<K: Kind + ?Sized> Choice<K> {
    /// A choice that no recipe wrote, such as a default.
    pub fn new(plugin: impl Into<String>, served: K::Served, config: Rc<K::Config>) -> Self {
        Self { plugin: plugin.into(), served, given: Vec::new(), config }
    }

    /// Checks the ranges of all settings, naming the field.
    ///
    /// # Errors
    /// A value out of range.
    pub fn validate(&self) -> Result<()> {
        self.served.validate()?;
        K::validate(&self.config)
    }

    /// All settings and the entry's name under `plugin`, as JSON.
    pub fn resolved(&self) -> Json {
        let mut all = serde_json::Map::from_iter([("plugin".to_string(), self.plugin.clone().into())]);
        all.extend(self.served.resolved());
        if let Json::Object(own) = K::resolved(&self.config) {
            all.extend(own);
        }
        all.into()
    }
}

impl<K: Kind + ?Sized> Clone for Choice<K> {
    fn clone(&self) -> Self {
        let Self { plugin, served, given, config } = self;
        Self { plugin: plugin.clone(), served: served.clone(), given: given.clone(), config: config.clone() }
    }
}

impl<K: Kind + ?Sized> fmt::Debug for Choice<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.plugin, self.served, self.config)
    }
}

/// Two choices are equal if they name the same entry with the same settings.
impl<K: Kind + ?Sized> PartialEq for Choice<K> {
    fn eq(&self, other: &Self) -> bool {
        self.resolved() == other.resolved()
    }
}

impl<K: Kind + ?Sized> serde::Serialize for Choice<K> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.resolved().serialize(serializer)
    }
}

/// The reader of an entry of any kind, and with it what depends on the kind.
///
/// ```
/// use admix_api::{AnyReader, Mixer, MixerConfig, Pairing, Reader};
/// use std::rc::Rc;
///
/// let read = Rc::new(|_: &mut dyn erased_serde::Deserializer<'_>| -> Result<Box<dyn MixerConfig>, _> {
///     Err(serde::de::Error::custom("nothing is read here"))
/// });
/// let reader: Box<dyn AnyReader> = Box::new(Reader::<dyn Mixer> { read, served: Pairing::alpha(1.0) });
/// assert_eq!(reader.word(), "mixer");
/// assert_eq!(reader.served()[0].name, "alpha");
/// ```
pub trait AnyReader {
    /// The kind's word.
    fn word(&self) -> &'static str;
    /// The `Reader<K>` itself.
    fn as_any(&self) -> &dyn Any;
    /// The host's settings with the entry's defaults: (name, default, type and documentation).
    fn served(&self) -> Vec<ServedSetting>;
    /// The settings of a body in full, those of the host left out.
    ///
    /// # Errors
    /// The body cannot be read.
    fn resolved(&self, body: &mut dyn AnyDeserializer<'_>) -> Result<Json, erased_serde::Error>;
    /// The names of the host's settings that play no part with these settings.
    fn ignores(&self, settings: &Json) -> Vec<&'static str>;
    /// [`Kind::facts`] with these settings.
    ///
    /// # Errors
    /// The entry refuses its own settings.
    fn facts(&self, settings: &Json) -> Result<Vec<(&'static str, Vec<String>)>>;
    /// [`Kind::in_recipe`].
    fn in_recipe(&self, name: &str, written: &str) -> String;
    /// [`Kind::names_others`] with these settings.
    fn names_others(&self, settings: &Json) -> Vec<String>;
    /// The kind's promises.
    fn promises(&self) -> Vec<Promise>;
    /// Holds the entry `name` with these settings to every promise; `defaults` are its settings at their defaults.
    fn check(&self, name: &str, defaults: &Json, settings: &Json, ledger: &mut Ledger);
}

impl<K: Kind + ?Sized> Reader<K> {
    fn config(&self, settings: &Json) -> Option<Box<K::Config>> {
        (self.read)(&mut <dyn AnyDeserializer<'_>>::erase(settings.clone())).ok()
    }
}

impl<K: Kind + ?Sized> AnyReader for Reader<K> {
    fn word(&self) -> &'static str {
        K::WORD
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn served(&self) -> Vec<ServedSetting> {
        self.served.settings()
    }

    fn resolved(&self, body: &mut dyn AnyDeserializer<'_>) -> Result<Json, erased_serde::Error> {
        (self.read)(body).map(|config| K::resolved(&config))
    }

    fn ignores(&self, settings: &Json) -> Vec<&'static str> {
        self.config(settings).map(|config| K::ignores(&config).to_vec()).unwrap_or_default()
    }

    fn facts(&self, settings: &Json) -> Result<Vec<(&'static str, Vec<String>)>> {
        K::facts(self.config(settings).as_deref())
    }

    fn in_recipe(&self, name: &str, written: &str) -> String {
        K::in_recipe(name, written)
    }

    fn names_others(&self, settings: &Json) -> Vec<String> {
        self.config(settings).map(|config| K::names_others(&config)).unwrap_or_default()
    }

    fn promises(&self) -> Vec<Promise> {
        K::promises()
    }

    fn check(&self, name: &str, defaults: &Json, settings: &Json, ledger: &mut Ledger) {
        let at = settings.to_string();
        let read = |settings: &Json| {
            let mut body = <dyn AnyDeserializer<'_>>::erase(settings.clone());
            self.choose(name, &mut body).map_err(|error| error.to_string())
        };
        let own = |choice: &Choice<K>| K::resolved(&choice.config);
        if let Some(choice) = examined(
            defaults,
            &Settings { read: &read, valid: &Choice::validate, full: &own },
            settings,
            ledger,
        ) {
            K::check(&choice, &at, ledger);
        }
    }
}
