//! Themes of a page.

/// A light or a dark page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    /// Dark on white: files, prints.
    Light,
    /// Light on nearly black.
    Dark,
}
