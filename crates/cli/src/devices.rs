//! `resolvent devices`: lists the adapters of this machine and the host, and tests the adapters.

use std::fmt::Write as _;

use resolvent::doctor::missing_adapter;
use resolvent::engine::{Choice, Device, Info, Options, adapters};
use resolvent_report::terminal::visible;

use crate::Failure;
use crate::terminal::print;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// List only, without the self-test
    #[arg(long)]
    no_test: bool,
}

pub(crate) fn main(args: &Args) -> Result<(), Failure> {
    let mut text = String::new();
    for (i, info) in adapters().into_iter().enumerate() {
        let options = Options::new(Choice::Index(i));
        line(&mut text, &i.to_string(), &info, (!args.no_test).then(|| test(&options)));
    }
    if text.is_empty() {
        let _infallible = writeln!(text, "no GPU adapter: {}", missing_adapter());
    }
    let host = Device::host();
    line(&mut text, "host", host.info(), None);
    let chosen = Device::open(&Options::default())?;
    let _infallible = write!(text, "auto is {}", visible(&chosen.info().name));
    print(&text)
}

fn test(options: &Options) -> String {
    let tested = Device::open(options).map_err(|e| e.to_string());
    match tested.and_then(|device| resolvent::self_test(&device).map_err(|e| e.to_string())) {
        Ok(test) => {
            format!("self-test passed: {:.1e} from the host, adjoint {:.1e}", test.worst(), test.adjoint)
        }
        Err(fault) => format!("self-test FAILED: {fault}"),
    }
}

fn line(text: &mut String, index: &str, info: &Info, test: Option<String>) {
    let _infallible = writeln!(text, "{index:>4}  {}", described(info));
    if let Some(test) = test {
        let _infallible = writeln!(text, "      {}", visible(&test));
    }
}

/// Describes a device in one line: name, kind, backend, driver and abilities.
pub(crate) fn described(info: &Info) -> String {
    let subgroups = info.subgroups.map_or_else(String::new, |(least, most)| match least == most {
        true => format!(", subgroups of {least}"),
        false => format!(", subgroups of {least} to {most}"),
    });
    let f16 = if info.f16 { ", f16" } else { "" };
    let sides: Vec<String> = info.cooperative.iter().map(u32::to_string).collect();
    let units = match sides.is_empty() {
        true => String::new(),
        false => format!(", cooperative matrices of {} (--f16-inputs)", sides.join(" and ")),
    };
    format!("{}{subgroups}{f16}{units}", visible(&info.to_string()))
}
