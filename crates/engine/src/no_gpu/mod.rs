//! The GPU executor of builds that have none: those for a browser. No value of its types exists.

mod memory;

use std::convert::Infallible;
use std::ops::Range;

pub(crate) use memory::Block;

use crate::error::{Error, Result};
use crate::info::Info;
use crate::launch::Launch;
use crate::options::Options;
use crate::profile::Sample;

/// Returns no adapters.
pub(crate) fn adapters() -> Vec<Info> {
    Vec::new()
}

/// Returns `None`: nothing is hidden.
pub(crate) fn hidden() -> Option<String> {
    None
}

/// An open GPU.
pub(crate) struct Gpu(Infallible);

impl Gpu {
    pub(crate) async fn open(options: &Options) -> Result<Self> {
        Err(Error::NoAdapter {
            wanted: options.choice.to_string(),
            found: "none".to_owned(),
            fix: "this build runs on the host executor only; open the device `host`".to_owned(),
        })
    }

    pub(crate) fn info(&self) -> &Info {
        match self.0 {}
    }

    pub(crate) fn reserve(&self, _: &str, _: u64) -> Result<Block> {
        match self.0 {}
    }

    pub(crate) fn owns(&self, block: &Block) -> bool {
        match block.none {}
    }

    pub(crate) fn write(&self, block: &Block, _: u64, _: &[u8]) -> Result<()> {
        match block.none {}
    }

    pub(crate) fn submit(&self, _: Vec<Launch>) -> Result<u64> {
        match self.0 {}
    }

    pub(crate) async fn wait(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) async fn read(&self, _: &[(&Block, &str, Range<usize>)]) -> Result<Vec<Vec<f32>>> {
        match self.0 {}
    }

    pub(crate) fn block_on<T>(&self, _: impl Future<Output = Result<T>>) -> Result<T> {
        match self.0 {}
    }

    pub(crate) fn poll(&self) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn take_profile(&self) -> Result<Vec<Sample>> {
        match self.0 {}
    }
}
