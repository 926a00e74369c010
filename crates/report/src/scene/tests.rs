//! Tests of the two writers: both escape hostile texts, and both draw the same picture.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use roxmltree::Document;

use super::*;
use crate::colour::Map;

/// Returns a scene with every shape and many kinds of paint.
fn scene() -> Scene {
    let mut scene = Scene::new(240.0, 160.0);
    scene.description = "all \"shapes\" <and> & paints".to_owned();
    scene.add(Mark::rect("cell", [10.0, 10.0, 40.0, 24.0]).fill(Paint::Cell(Map::Diverging, 3)).hover("a < b"));
    scene.add(Mark::rect("marked", [60.0, 10.0, 40.0, 24.0]).stroke(Paint::Ink, 2.0));
    scene.add(Mark::circle("point", 130.0, 22.0, 12.0).fill(Paint::Series(0)).opacity(0.6));
    scene.add(Mark::line("reference", (10.0, 50.0), (220.0, 50.5)).stroke(Paint::Ink, 1.5).dash(Some([5.0, 4.0])));
    scene.add(Mark::polygon("band", &[(150.0, 60.0), (220.0, 70.0), (180.0, 120.0)]).fill(Paint::Series(1)));
    scene.add(Mark::text("title", 10.0, 80.0, "Prediction, 10⁻³ × χ").bold().size(14.0));
    scene.add(Mark::text("tick", 120.0, 100.0, "middle").anchor(Anchor::Middle).fill(Paint::Muted));
    scene.add(Mark::text("tick", 230.0, 140.0, "end of it").anchor(Anchor::End).rim());
    scene.add(Mark::text("column", 60.0, 110.0, "·turned").anchor(Anchor::End).turn(-45.0));
    let mut inner = Scene::new(30.0, 30.0);
    inner.add(Mark::rect("cell", [0.0, 0.0, 30.0, 20.0]).fill(Paint::Cell(Map::Sequential, 50)));
    scene.place(100.0, 125.0, inner);
    scene
}

/// Renders an SVG with an independent renderer, at two pixels per pixel of the SVG.
fn rendered(svg: &str) -> Pixmap {
    let mut options = Options::default();
    for bytes in [font::REGULAR, font::BOLD] {
        options.fontdb_mut().load_font_data(bytes.to_vec());
    }
    let tree = Tree::from_str(svg, &options).expect("is SVG");
    let size = tree.size().to_int_size().scale_by(2.0).expect("has a size");
    let mut pixels = Pixmap::new(size.width(), size.height()).expect("fits into memory");
    resvg::render(&tree, Transform::from_scale(2.0, 2.0), &mut pixels.as_mut());
    pixels
}

/// Returns the mean difference of two pictures, in parts of 255.
fn apart(a: &Pixmap, b: &Pixmap) -> f64 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    let difference = a.data().iter().zip(b.data()).map(|(a, b)| f64::from(a.abs_diff(*b)));
    difference.sum::<f64>() / a.data().len() as f64
}

#[test]
fn svg_and_png_are_one_picture() {
    let scene = scene();
    let ours = Pixmap::decode_png(&png(&scene).expect("is small")).expect("is PNG");
    let theirs = rendered(&svg(&scene, Use::File));
    let off = apart(&ours, &theirs);
    assert!(off < 0.25, "{off}");
    // The check detects a missing text, and a text that is moved by a pixel.
    for change in [|t: &mut Text| t.text.clear(), |t: &mut Text| t.x += 1.0] {
        let mut other = scene.clone();
        let text = other.marks.iter_mut().find_map(|m| match &mut m.shape {
            Shape::Text(text) => Some(text),
            _ => None,
        });
        change(text.expect("a text"));
        let other = Pixmap::decode_png(&png(&other).expect("is small")).expect("is PNG");
        assert!(apart(&other, &theirs) > 2.0 * off.max(0.1), "{off}");
    }
}

#[test]
fn a_picture_has_colours_and_two_pixels_for_one() {
    let bytes = png(&scene()).expect("is small");
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("is PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("fits into memory")];
    let frame = reader.next_frame(&mut pixels).expect("one picture");
    assert_eq!((frame.width, frame.height), (480, 320));
    let colours: std::collections::BTreeSet<&[u8]> = pixels.chunks(4).collect();
    assert!(colours.len() > 50, "{}", colours.len());
}

#[test]
fn a_picture_too_large_is_refused_and_a_large_one_shrinks() {
    let large = Scene::new(12_000.0, 6_000.0);
    let bytes = png(&large).expect("at a smaller scale");
    let info = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("is PNG").info().size();
    assert!(info.0 < 15_000 && info.0 > 9_000, "{info:?}");
    let line = png(&Scene::new(1e5, 1e5)).expect_err("too large").to_string();
    assert!(line.contains("100000 x 100000") && line.contains("write .svg"), "{line}");
    assert!(png(&Scene::new(0.0, 0.0)).is_err());
}

const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "' onload='alert(1)",
    "]]></text><script>",
    "&lt;b&gt; &#0;",
    "\u{0}\u{1}\u{8}\u{1b}[31m\u{7f}\u{9b}",
    "\u{202e}desrever\u{2066}",
    "\u{fffe}\u{ffff}\u{1ffff}",
];

#[test]
fn hostile_texts_are_escaped() {
    for text in HOSTILE {
        let mut scene = Scene::new(10.0, 10.0);
        scene.description = text.to_owned();
        scene.add(Mark::text("row", 0.0, 0.0, text).hover(text));
        for purpose in [Use::Page, Use::File] {
            let svg = svg(&scene, purpose);
            let read = Document::parse(&svg).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            let names: std::collections::BTreeSet<&str> =
                read.descendants().filter(|n| n.is_element()).map(|n| n.tag_name().name()).collect();
            assert!(names.iter().all(|n| ["svg", "rect", "style", "text", "title"].contains(n)), "{text:?}: {names:?}");
            assert!(read.descendants().all(|n| n.attribute("onload").is_none()), "{text:?}");
            let row = read.descendants().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "text")));
            let shown = row.and_then(|n| n.children().next_back()?.text()).unwrap_or_default();
            assert_eq!(shown, clean(text));
            assert!(!svg.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        }
    }
}

#[test]
fn a_page_has_css_variables_and_a_file_has_colours() {
    let scene = scene();
    let (page, file) = (svg(&scene, Use::Page), svg(&scene, Use::File));
    assert!(page.contains(r#"fill="var(--d3)""#) && !page.contains("fill=\"#"), "{page}");
    assert!(!file.contains("var(") && file.contains("font-family"), "{file}");
    for text in [page, file] {
        let read = Document::parse(&text).expect("is XML");
        let label = read.root_element().attribute("aria-label").map(str::to_owned);
        assert_eq!(label.as_deref(), Some(scene.description.as_str()));
        assert_eq!(read.root_element().attribute("role"), Some("img"));
    }
}
