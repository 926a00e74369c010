//! Records of what a study leaves out: tasks, pairs, places and steps that cannot be analysed, and checks that fail.
//!
//! A study continues after both. Each step records what it leaves out in the metadata of its result (`left_out`, as
//! JSON). So the page and the terminal can report it also for a result that is read back.

use resolvent_engine::Error as DeviceError;
use resolvent_model::Error as ModelError;
use serde_json::{Value, json};

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::labelled::Labelled;

use super::Done;

/// Key of the metadata under which a step records what it left out.
const KEY: &str = "left_out";

/// An item that a study left out, or a check that failed in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The item: a task, a pair of prompts, a place or a step.
    pub what: String,
    /// Why the item was left out.
    pub reason: String,
    /// Whether a check failed or the device gave an error; otherwise the analysis does not apply.
    pub failed: bool,
    /// The steps that left the item out; empty if it was left out before all steps.
    pub steps: Vec<String>,
}

impl LeftOut {
    pub(super) fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { what: what.into(), reason: reason.into(), failed: false, steps: Vec::new() }
    }

    /// Records an error. Invalid input means that the analysis does not apply; any other error is a failure.
    pub(crate) fn from_error(what: &str, error: &Error) -> Self {
        let does_not_apply = matches!(error, Error::Input(_) | Error::Model(ModelError::Place(_)));
        Self { failed: !does_not_apply, ..Self::new(what, error.to_string()) }
    }
}

/// Writes one line: the item, its steps, and the reason.
impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, reason, steps, .. } = self;
        match &steps[..] {
            [] => write!(f, "{what}: {reason}"),
            // A step that is itself left out is named once.
            [step] if step == what => write!(f, "{what}: {reason}"),
            [step] => write!(f, "{what} in {step}: {reason}"),
            [..] => write!(f, "{what} in {} steps: {reason}", steps.len()),
        }
    }
}

/// Returns whether an error ends a study, because the next step would fail in the same way.
pub(crate) fn ends(error: &Error) -> bool {
    match error {
        Error::File { .. } => true,
        Error::Model(ModelError::Engine(e)) => {
            matches!(e, DeviceError::Stopped | DeviceError::DeviceLost { .. })
        }
        _ => false,
    }
}

/// Returns whether the step may succeed when it runs again. Its result is then not written.
pub(crate) fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Model(ModelError::Engine(_)))
}

/// The items that one step leaves out, and the checks that it passes.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    left_out: Vec<LeftOut>,
    passed: Vec<Certificate>,
}

impl Record {
    /// Records an item that is left out, once.
    pub(super) fn leave_out(&mut self, left_out: LeftOut) {
        if !self.left_out.contains(&left_out) {
            self.left_out.push(left_out);
        }
    }

    /// Returns the result of a part of a step, such as a pair. A part that fails is recorded and gives `None`, so that
    /// the step can continue without it.
    ///
    /// # Errors
    /// A device error or a file error, because it concerns the whole step.
    pub(super) fn attempt<T>(&mut self, what: &str, result: Result<T>) -> Result<Option<T>> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if ends(&error) || may_pass(&error) => Err(error),
            Err(error) => {
                self.leave_out(LeftOut::from_error(what, &error));
                Ok(None)
            }
        }
    }

    /// Records checks of a step or of its parts. For each name, the worst passed check stays; a failed check is
    /// recorded as left out.
    pub(super) fn check(&mut self, what: &str, certificates: &[Certificate]) {
        for certificate in certificates {
            match certificate.verify() {
                Ok(()) => crate::certificate::merge(&mut self.passed, std::slice::from_ref(certificate)),
                Err(error) => self.leave_out(LeftOut::from_error(what, &error)),
            }
        }
    }

    /// Returns the result of a step, with the recorded checks and left-out items added.
    pub(super) fn close(self, mut result: Labelled) -> Result<Labelled> {
        for certificate in self.passed {
            result = result.certify(certificate)?;
        }
        Ok(write(result, &self.left_out))
    }

    /// Returns the result of a step that failed: no arrays, and the reason.
    pub(super) fn nothing(mut self, step: &str, error: &Error) -> Result<Labelled> {
        self.passed.clear();
        self.leave_out(LeftOut::from_error(step, error));
        self.close(Labelled::default().note("analysis", step.split('.').next().unwrap_or(step)))
    }
}

/// Returns the items that the steps of a study left out, each once with all of its steps.
pub(super) fn of_steps(done: &[Done]) -> Vec<LeftOut> {
    let mut all: Vec<LeftOut> = Vec::new();
    for Done { name, result } in done {
        for left_out in read(result) {
            let same = |l: &&mut LeftOut| (&l.what, &l.reason) == (&left_out.what, &left_out.reason);
            match all.iter_mut().find(same) {
                Some(known) => known.steps.push(name.clone()),
                None => all.push(LeftOut { steps: vec![name.clone()], ..left_out }),
            }
        }
    }
    all
}

/// Adds the left-out items to the metadata of a result, if there are any.
pub(crate) fn write(result: Labelled, left_out: &[LeftOut]) -> Labelled {
    let each = left_out.iter().map(|l| json!({"what": l.what, "reason": l.reason, "failed": l.failed}));
    let list: Vec<Value> = each.collect();
    if list.is_empty() { result } else { result.note(KEY, Value::from(list).to_string()) }
}

/// Reads the left-out items from the metadata of a result.
pub(crate) fn read(result: &Labelled) -> Vec<LeftOut> {
    let list = result.metadata.get(KEY).and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let each = list.unwrap_or_default().into_iter().map(|value| LeftOut {
        failed: value["failed"].as_bool().unwrap_or(false),
        ..LeftOut::new(text(&value, "what"), text(&value, "reason"))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64) -> Certificate {
        Certificate::new("adjoint", value, 1e-5)
    }

    #[test]
    fn left_out_items_are_read_back_with_their_steps() {
        let step = |what: &str| {
            let mut record = Record::default();
            let failed: Option<()> =
                record.attempt(what, Err(Error::Input("has one token".to_owned()))).expect("goes on");
            assert!(failed.is_none());
            record.check("all of it", &[check(1e-7), check(2e-7), check(f64::NAN)]);
            record.close(Labelled::default()).expect("holds")
        };
        let done = ["regimes.a", "inverse.a"].map(|name| Done { name: name.to_owned(), result: step("`x`") });
        assert_eq!(done[0].result.certificates, [check(2e-7)]);
        let found = of_steps(&done);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_string(), "`x` in 2 steps: has one token");
        assert!(!found[0].failed && found[1].failed);
        assert!(found[1].reason.contains("`adjoint` failed: NaN"), "{}", found[1].reason);
    }

    #[test]
    fn a_lost_device_or_a_stop_ends_the_study() {
        let mut record = Record::default();
        let device = |error: DeviceError| Error::Model(ModelError::Engine(error));
        for (error, end) in [
            (device(DeviceError::Stopped), true),
            (device(DeviceError::DeviceLost { reason: String::new() }), true),
            (device(DeviceError::OutOfMemory { label: String::new(), bytes: 1 }), false),
        ] {
            assert_eq!(ends(&error), end);
            assert!(may_pass(&error) && record.attempt::<()>("x", Err(error)).is_err());
        }
    }

    #[test]
    fn a_step_without_a_result_says_why() {
        let nothing = Record::default().nothing("reduction.a", &Error::Input("one block".to_owned()));
        let done = [Done { name: "reduction.a".to_owned(), result: nothing.expect("a result") }];
        let found = of_steps(&done);
        assert_eq!(found[0].to_string(), "reduction.a: one block");
        assert!(done[0].result.arrays.is_empty());
    }
}
