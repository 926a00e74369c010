//! The verbs, one for each file.

pub(crate) mod api;
pub(crate) mod arm;
pub(crate) mod bench;
pub(crate) mod capi;
pub(crate) mod check;
pub(crate) mod deny;
pub(crate) mod docs;
pub(crate) mod golden;
pub(crate) mod header;
pub(crate) mod package;
pub(crate) mod platforms;
pub(crate) mod python;
pub(crate) mod real;
pub(crate) mod sanitize;
pub(crate) mod serve;
pub(crate) mod shaders;
pub(crate) mod test;
pub(crate) mod web;
pub(crate) mod web_test;
pub(crate) mod wheel;
pub(crate) mod windows;
