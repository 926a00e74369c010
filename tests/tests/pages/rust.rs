//! Runs the Rust blocks of the pages. `tests/build.rs` writes each block as a function of this test's crate.

use std::cell::RefCell;

use super::output::compare;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A block of a page.
struct Block {
    place: &'static str,
    is_no_run: bool,
    /// The text of the `output` block that follows, or nothing.
    shown: &'static str,
    run: fn() -> Outcome,
}

thread_local! {
    static PRINTED: RefCell<String> = const { RefCell::new(String::new()) };
}

#[allow(unused, unreachable_pub, clippy::all, reason = "examples are compiled as a reader would write them")]
mod blocks {
    use super::{Block, Outcome, PRINTED};

    /// Collects the lines that a block prints.
    macro_rules! println {
        ($($part:tt)*) => {{
            let line = format!($($part)*);
            super::PRINTED.with_borrow_mut(|all| all.extend([line.as_str(), "\n"]));
        }};
    }

    include!(concat!(env!("OUT_DIR"), "/pages.rs"));
}

#[test]
fn the_rust_of_the_pages_runs() {
    for block in blocks::BLOCKS.iter().filter(|block| !block.is_no_run) {
        PRINTED.with_borrow_mut(String::clear);
        (block.run)().unwrap_or_else(|e| panic!("{}: {e}", block.place));
        let printed = PRINTED.with_borrow(String::clone);
        compare(block.shown, &printed).unwrap_or_else(|e| panic!("{}: {e}", block.place));
        assert_eq!(block.shown.is_empty(), printed.is_empty(), "{}: a page shows what is printed", block.place);
    }
}

/// This test lists the pages with blocks that are compiled but not run, so that `no_run` does not spread unnoticed.
#[test]
fn rust_that_does_not_run_is_counted() {
    let marked = blocks::BLOCKS.iter().filter(|block| block.is_no_run);
    let pages: Vec<&str> = marked.filter_map(|block| block.place.split(':').next()).collect();
    assert_eq!(pages, ["docs/src/recipes/hub.md"], "downloads a model");
    assert!(blocks::BLOCKS.len() >= 3, "the pages have lost their Rust");
}
