//! Small multiples: figures side by side.

use super::{Figure, parts};
use crate::scene::Scene;

/// Figures under one title. In a page they flow into as many columns as fit; in a file they are set in rows of the same
/// number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// What they have in common.
    pub title: String,
    /// A line below the title; may be empty.
    pub subtitle: String,
    /// The figures, in the order of reading.
    pub figures: Vec<Figure>,
}

/// Widest row in a file, unless one figure is wider.
const WIDTH: f64 = 1000.0;
const GAP: f64 = 36.0;

impl Grid {
    /// A grid of figures.
    pub fn new(title: impl Into<String>, figures: Vec<Figure>) -> Self {
        Self { title: title.into(), subtitle: String::new(), figures }
    }

    /// The drawing.
    pub(crate) fn scene(&self) -> Scene {
        let scenes: Vec<Scene> = self.figures.iter().map(Figure::scene).collect();
        let widest = scenes.iter().map(|s| s.width).fold(0.0, f64::max);
        let most = widest.max(WIDTH);
        // Rows are filled greedily; columns line up where figures are of one width.
        let (mut x, mut y, mut row) = (0.0, 0.0, 0.0);
        let (mut width, mut places) = (0.0f64, Vec::new());
        for scene in &scenes {
            if x > 0.0 && x + scene.width > most {
                (x, y, row) = (0.0, y + row + GAP, 0.0);
            }
            places.push((x, y));
            width = width.max(x + scene.width);
            x += scene.width + GAP;
            row = f64::max(row, scene.height);
        }
        let mut scene = Scene::new(width.max(200.0), 0.0);
        let descriptions: Vec<&str> = scenes.iter().map(|s| s.description.as_str()).collect();
        scene.description = format!("{}. {}", self.title, descriptions.join(" "));
        let top = parts::heading(&mut scene, &self.title, &self.subtitle);
        let top = if top > 0.0 { top + 8.0 } else { top };
        scene.height = top + y + row;
        for (child, (x, y)) in scenes.into_iter().zip(places) {
            scene.place(x, top + y, child);
        }
        scene
    }
}
