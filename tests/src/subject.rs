//! The executors under test.

use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use resolvent_engine::{Choice, Device, Error, Options, Tensor};
use resolvent_ops::tuning::Family;

use crate::compare::Labelled;

const VARIABLE: &str = "RESOLVENT_TEST_DEVICES";

/// An open device with poisoned memory, and a name of its own.
#[derive(Clone)]
pub struct Subject {
    device: Device,
    name: String,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.name)
    }
}

impl Subject {
    /// Opens what `options` say, poisoned.
    pub fn open(options: &Options) -> Result<Self, Error> {
        let device = Device::open(&Options { poison: true, ..options.clone() })?;
        let variants: String = options.variants.iter().map(|(shader, v)| format!(", {shader}.{v}")).collect();
        let name = match device.info().is_host() {
            true => "host".to_owned(),
            false => format!("{}{variants}", device.info().name),
        };
        Ok(Self { device, name })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What tables and failures call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the host executor.
    pub fn is_host(&self) -> bool {
        self.device.info().is_host()
    }

    /// The same executor opened anew, with other options.
    ///
    /// # Panics
    /// If it does not open.
    #[must_use]
    pub fn again(&self, options: Options) -> Self {
        let name = self.device.info().name.clone();
        let choice = if self.is_host() { Choice::Host } else { Choice::Name(name) };
        Self::open(&Options { choice, ..options }).unwrap_or_else(|e| panic!("{}: {e}", self.name))
    }

    /// Numbers that this subject computed, under its name.
    pub fn label<T: Copy + Into<f64>>(&self, values: &[T]) -> Labelled {
        Labelled::new(self.name.clone(), values.iter().map(|&x| x.into()).collect())
    }

    /// Reads `tensor` back; the result bears this subject's name.
    ///
    /// # Panics
    /// If the device gives an error instead.
    pub fn read(&self, tensor: &Tensor) -> Labelled {
        let values = self.device.read(tensor).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        self.label(&values)
    }
}

/// The adapters that the variable asks for.
fn wanted() -> Vec<Choice> {
    match std::env::var(VARIABLE).unwrap_or_default().as_str() {
        "" => vec![Choice::Gpu],
        list => list
            .split(',')
            .map(|part| part.trim().parse().unwrap_or_default())
            .filter(|choice| *choice != Choice::Host)
            .collect(),
    }
}

fn open_gpus() -> Result<Vec<Subject>, String> {
    let wanted = wanted();
    if wanted.is_empty() {
        // Past the capture of the test runner: what was left out is said whether tests pass or fail.
        let _closed = writeln!(std::io::stderr(), "{VARIABLE}=host: GPU TESTS ARE LEFT OUT");
    }
    let open = |choice: &Choice| {
        Subject::open(&Options::new(choice.clone()))
            .map_err(|e| format!("{e}. Tests need a GPU adapter; {VARIABLE}=host leaves the GPU tests out"))
    };
    wanted.iter().map(open).collect()
}

/// The GPUs under test; empty only if the variable says so.
///
/// # Panics
/// If an adapter is missing.
pub fn gpus() -> &'static [Subject] {
    static GPUS: OnceLock<Result<Vec<Subject>, String>> = OnceLock::new();
    GPUS.get_or_init(open_gpus).as_ref().unwrap_or_else(|e| panic!("{e}"))
}

fn host() -> &'static Subject {
    static HOST: OnceLock<Subject> = OnceLock::new();
    HOST.get_or_init(|| Subject::open(&Options::new(Choice::Host)).expect("the host executor always opens"))
}

/// The host executor, then the GPUs under test.
pub fn subjects() -> Vec<&'static Subject> {
    std::iter::once(host()).chain(gpus()).collect()
}

/// The host executor, then each GPU with each text of the shaders that come in several, as far as it can run them: the texts
/// of all families side by side, as many times as the longest list of them needs.
pub fn variant_subjects() -> Vec<&'static Subject> {
    static ALL: OnceLock<Vec<Subject>> = OnceLock::new();
    std::iter::once(host()).chain(ALL.get_or_init(|| open_variants(false))).collect()
}

/// The same, opened for inputs that are rounded to halves.
pub fn rounding_subjects() -> Vec<&'static Subject> {
    static ALL: OnceLock<Vec<Subject>> = OnceLock::new();
    std::iter::once(host()).chain(ALL.get_or_init(|| open_variants(true))).collect()
}

fn open_variants(f16_inputs: bool) -> Vec<Subject> {
    let open = |options: &Options| Subject::open(options).unwrap_or_else(|e| panic!("{e}"));
    let choices = wanted().into_iter().flat_map(|choice| {
        let plain = Options { f16_inputs, ..Options::new(choice) };
        let gpu = open(&plain);
        let of = |family: Family| {
            let runs = family.variants().filter(|v| gpu.device().info().lacks(v).is_none());
            (family.shader(), runs.map(|v| v.name).collect::<Vec<_>>())
        };
        let offered: Vec<_> = Family::on(gpu.device()).map(of).collect();
        let most = offered.iter().map(|(_, names)| names.len()).max().unwrap_or(0);
        let variants = move |i: usize| Options {
            variants: offered.iter().map(|(shader, names)| (*shader, names[i % names.len()])).collect(),
            ..plain.clone()
        };
        (0..most).map(variants)
    });
    choices.map(|options| open(&options)).collect()
}
