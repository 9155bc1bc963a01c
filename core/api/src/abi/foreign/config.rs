//! Settings of a plugin of a library: the library checks them and says what they need.

use std::ffi::c_void;
use std::rc::Rc;

use admix_torch::Device;
use serde_json::Value as Json;

use super::call::Foreign;
use super::create::Building;
use super::loss::ForeignLoss;
use super::mixer::ForeignMixer;
use crate::abi::manifest::Functions;
use crate::abi::{raw, text};
use crate::{
    Argument, Error, Loss, LossConfig, Mixer, MixerConfig, MixerContext, Needs, Path, Result, Settings,
};

/// What `check` said of some settings.
#[derive(Debug)]
struct Checked {
    settings: String,
    resolved: Json,
    needs: Needs,
    arguments: Vec<Argument>,
    /// Why they were refused: setting (or empty) and message.
    refused: Option<(String, String)>,
}

/// Settings of a mixer or a loss of a library.
#[derive(Debug)]
pub(in crate::abi) struct ForeignConfig {
    foreign: Rc<Foreign>,
    checked: Checked,
}

impl ForeignConfig {
    pub(in crate::abi) fn read(foreign: &Rc<Foreign>, settings: &Json) -> Result<Self> {
        Ok(Self { foreign: foreign.clone(), checked: foreign.checked(settings)? })
    }

    fn accepted(&self) -> Result<()> {
        match &self.checked.refused {
            None => Ok(()),
            Some((setting, message)) => {
                Err(Error::Setting { setting: setting.clone(), message: message.clone() })
            }
        }
    }
}

impl Settings for ForeignConfig {
    fn resolved(&self) -> Json {
        self.checked.resolved.clone()
    }
}

impl MixerConfig for ForeignConfig {
    fn needs(&self) -> Needs {
        self.checked.needs.clone()
    }

    fn validate(&self) -> Result<()> {
        self.accepted()
    }

    fn build(&self, path: &Path, context: &MixerContext) -> Result<Box<dyn Mixer>> {
        self.accepted()?;
        let mut host = Building { path: Some(path), label: &self.foreign.label };
        let this = self.foreign.create(&self.checked.settings, path.device(), &mut host, context)?;
        Ok(Box::new(ForeignMixer {
            foreign: self.foreign.clone(),
            this,
            needs: self.checked.needs.clone(),
            device: path.device(),
            looked_at: false,
            failed: None,
        }))
    }
}

impl LossConfig for ForeignConfig {
    fn validate(&self) -> Result<()> {
        self.accepted()
    }

    fn build(&self) -> Result<Box<dyn Loss>> {
        self.accepted()?;
        let mut host = Building { path: None, label: &self.foreign.label };
        let (settings, context) = (&self.checked.settings, MixerContext::default());
        let this = self.foreign.create(settings, Device::Cpu, &mut host, &context)?;
        let (foreign, arguments) = (self.foreign.clone(), self.checked.arguments.clone());
        Ok(Box::new(ForeignLoss { foreign, this, arguments }))
    }
}

unsafe extern "C" fn collect(host: *mut c_void, one: raw::Text) {
    // SAFETY: the list of the call that is going on.
    unsafe { &mut *host.cast::<Vec<String>>() }.push(text(one).into_owned());
}

impl Foreign {
    fn checked(&self, settings: &Json) -> Result<Checked> {
        let settings = settings.to_string();
        let (mut resolved, mut arguments): (Vec<String>, Vec<String>) = Default::default();
        let sink =
            |list: &mut Vec<String>| raw::Texts { host: std::ptr::from_mut(list).cast(), put: Some(collect) };
        let (into_resolved, into_arguments) = (sink(&mut resolved), sink(&mut arguments));
        let mut needs = raw::Needs {
            size: size_of::<raw::Needs>(),
            features: 0,
            saliency: 0,
            pseudo: 0,
            capturable: 0,
            host_solver: 0,
            hidden: 0,
            shown: 0,
            reserved: 0,
        };
        let (data, text) = (self.plugin.data, raw::Text::of(&settings));
        let outcome = self.call("check", Device::Cpu, &[], |errors| {
            // SAFETY: the library's functions with its own data; sinks and texts live for the call.
            unsafe {
                match &self.plugin.functions {
                    Functions::Mixer(mixer) => mixer
                        .check
                        .map_or(raw::OK, |check| check(data, text, &into_resolved, &mut needs, errors)),
                    Functions::Loss(loss) => loss
                        .check
                        .map_or(raw::OK, |check| check(data, text, &into_resolved, &into_arguments, errors)),
                }
            }
        });
        let refused = match outcome {
            Ok(()) => None,
            Err(Error::Setting { setting, message }) => Some((setting, message)),
            Err(error) => return Err(error),
        };
        let resolved = match resolved.first().map(|text| serde_json::from_str(text)) {
            Some(Ok(resolved)) => resolved,
            Some(Err(error)) => return Err(self.error(format!("its settings come back as no JSON: {error}"))),
            None => self.plugin.defaults.clone(),
        };
        if needs.features < 0 {
            return Err(self.error(format!("it wants the features of stage {}", needs.features)));
        }
        if needs.hidden < 0 {
            return Err(self.error(format!("it wants to mix at stage {}", needs.hidden)));
        }
        Ok(Checked {
            settings,
            resolved,
            needs: Needs {
                features: (needs.features > 0).then_some(needs.features as usize),
                saliency: needs.saliency != 0,
                pseudo: needs.pseudo != 0,
                hidden: (needs.hidden > 0).then_some(needs.hidden as usize),
                shown: needs.shown != 0,
                capturable: needs.capturable != 0,
                host_solver: needs.host_solver != 0,
            },
            arguments: arguments
                .into_iter()
                .map(|name| match name.as_str() {
                    "target" => Argument::Target,
                    "contrast" => Argument::Contrast,
                    "mix" => Argument::Mix,
                    // A name for each argument of each loss of a library: few, and libraries stay for good.
                    _ => Argument::Tensor(name.leak()),
                })
                .collect(),
            refused,
        })
    }
}
