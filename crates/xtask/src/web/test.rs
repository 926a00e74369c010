//! Uses the page in a real browser, as a person would, and compares its numbers with those of the command line.

use std::time::Instant;

use super::page::{Page, parsed, printed};
use super::{available, build};
use crate::process::{Result, cargo, root, run};

/// Key of the WebDriver protocol: arrow down, and enter.
const DOWN: &str = "\u{e015}";
const ENTER: &str = "\u{e007}";
const RIGHT: &str = "\u{e014}";
const LEFT: &str = "\u{e012}";

type Step = fn(&Page) -> Result;

/// The steps of the test, by name. Each opens the page that it needs.
const STEPS: [(&str, Step); 17] = [
    ("first-map", Page::first_map),
    ("places", Page::places),
    ("links", Page::links),
    ("mistakes", Page::mistakes),
    ("own-models", Page::own_models),
    ("phone", Page::phone),
    ("hostile-files", Page::hostile_files),
    ("closed", Page::closed),
    ("memory", Page::memory),
    ("large-file", Page::large_file),
    ("bench", Page::bench),
    ("webgpu", Page::webgpu),
    ("kernels", Page::kernels),
    ("lost-device", Page::lost_device),
    ("broken-driver", Page::broken_driver),
    ("broken-later", Page::broken_later),
    ("dawn", Page::dawn),
];

/// The steps of `--short`: the numbers on both devices, and a kernel that must be refused.
const SHORT: [&str; 3] = ["first-map", "webgpu", "broken-later"];

/// Builds the page and the command line, and tests one against the other: all steps, or those that are named. `--short`
/// names a few, and says so where this machine has no browser or no compiler for one.
pub(crate) fn test(names: &[String]) -> Result {
    if names == ["--short"] {
        return match available() {
            Ok(()) => test(&SHORT.map(str::to_owned)),
            Err(reason) => {
                eprintln!("THE TEST OF THE PAGE FOR BROWSERS IS LEFT OUT: {reason}");
                Ok(())
            }
        };
    }
    if let Some(name) = names.iter().find(|name| STEPS.iter().all(|(step, _)| step != name)) {
        let all: Vec<&str> = STEPS.iter().map(|(step, _)| *step).collect();
        return Err(format!("invalid step `{name}`: expected --short or {}", all.join(", ")));
    }
    let started = Instant::now();
    let folder = build()?;
    run(&mut cargo(&["build", "--package", "resolvent-cli"]))?;
    eprintln!("built in {:.0} s", started.elapsed().as_secs_f64());
    let page = Page::new(folder)?;
    let (started, mut passed) = (Instant::now(), 0);
    for (name, step) in STEPS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let begun = Instant::now();
            page.reset()?;
            step(&page).map_err(|e| format!("{name}: {e}"))?;
            eprintln!("{name}: passed in {:.1} s", begun.elapsed().as_secs_f64());
            passed += 1;
        }
    }
    eprintln!("tested in {:.0} s; pictures are in target/web-test", started.elapsed().as_secs_f64());
    println!("{passed} passed, 0 failed");
    Ok(())
}

impl Page {
    /// The default prompts: times, sizes, numbers.
    fn first_map(&self) -> Result {
        self.open("")?;
        let figures = self.browser.run(
            "return [document.body.dataset.first, explorer.answers().patch.seconds, \
             Math.max(...Object.values(explorer.answers()).map((a) => a.memory)) / 2 ** 20]",
        )?;
        eprintln!("first map after {} s, patch {} s, memory of the engine {} MiB", figures[0], figures[1], figures[2]);
        self.is("document.querySelectorAll('#map [role=gridcell]').length === 9 * 14")?;
        self.is("document.querySelector('#scatter svg')")?;
        self.is("/^host executor.*the GPU of this browser is software/.test(document.querySelector('#runs-on').textContent)")?;
        self.compare_all(&["patch", "sensitivity"])
    }

    /// Choices by click and by keys: response, lens, amplitudes, directions, code.
    fn places(&self) -> Result {
        let browser = &self.browser;
        self.open("")?;
        browser.click("#map [data-place='4,9']")?;
        self.done()?;
        self.is("location.hash.includes('place=4%2C9')")?;
        self.is("document.querySelectorAll('#cone [role=gridcell]').length === 9 * 14")?;
        self.is("document.querySelectorAll('#lens tbody tr').length === 9")?;
        // The read-out is of the chosen token too, and its marked row follows the depth.
        self.is("document.querySelector('#lens-token').textContent.includes('(9)')")?;
        self.is(
            "document.querySelector('#lens [aria-current]').dataset.level === document.querySelector('#depth').value",
        )?;
        browser.keys("#depth", LEFT)?;
        self.is("document.querySelector('#lens [aria-current]').dataset.level === '7'")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        // The displacement with amplitude 1 is the patch.
        let [finite, effect] = [
            "const a = explorer.answers(); return a.regime.result.arrays.finite.data[19]",
            "return explorer.answers().patch.result.arrays.effect.data[4 * 14 + 9]",
        ]
        .map(|script| browser.run(script).map(|x| x.as_f64().unwrap_or(f64::NAN)));
        let (finite, effect) = (finite?, effect?);
        if (finite - effect).abs() > 1e-4 * effect.abs() || !finite.is_finite() {
            return Err(format!("the source of amplitude 1 changes J by {finite}, and the patch by {effect}"));
        }
        browser.picture(&Self::file("desktop.png"))?;

        let before = browser.run("return document.querySelector('#finite').textContent")?;
        browser.keys("#amplitude", RIGHT)?;
        self.is(&format!("document.querySelector('#finite').textContent !== {before}"))?;
        self.is("location.hash.includes('amplitude=1.1')")?;
        browser.click("#map [data-place='4,9']")?;
        self.done()?;
        browser.keys("#map [data-place='4,9']", DOWN)?;
        self.is("document.activeElement.dataset.place === '3,9'")?;
        browser.keys("#map [data-place='3,9']", ENTER)?;
        self.done()?;
        self.is("document.querySelector('#place-title').textContent.includes('h[3,9]')")?;
        browser.click("input[name=map][value=sensitivity]")?;
        self.is("document.querySelector('#map [role=gridcell]').getAttribute('aria-label').includes('dJ/dh')")?;
        for language in ["python", "rust"] {
            browser.click(&format!("input[name=language][value={language}]"))?;
            self.is("document.querySelector('#code').textContent.includes('atlas-small')")?;
        }
        // Another source: what the strongest writer changes.
        let writer = browser.run("return document.querySelector('#writers button').dataset.writer")?;
        let writer = writer.as_str().unwrap_or_default().to_owned();
        browser.click("#writers button")?;
        self.done()?;
        self.is(&format!("location.hash.includes('direction=writer%3A{writer}')"))?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.is("document.querySelectorAll('#downloads a[href^=blob]').length >= 15")?;
        self.is("document.querySelectorAll('#checks li').length >= 10")?;
        let size = "const a = document.querySelector('#downloads a[download=\"patch.safetensors\"]'); \
                    const r = new XMLHttpRequest(); r.open('GET', a.href, false); r.overrideMimeType('text/plain; \
                    charset=x-user-defined'); r.send(); return r.response.length === explorer.answers().patch.file.length";
        self.is(&format!("(() => {{ {size} }})()"))?;
        self.quiet()
    }

    /// A link shows what its sender saw; other directions and models.
    fn links(&self) -> Result {
        let settings = "model=atlas-nano&place=2%2C4&direction=sensitivity&amplitude=0.5&map=first_order&language=rust&\
                        clean=The+capital+of+France+is&corrupted=The+capital+of+Italy+is&target=+Paris&against=+Rome";
        self.open(settings)?;
        self.is("document.querySelector('#clean').value === 'The capital of France is'")?;
        self.is("document.querySelector('#direction').value === 'sensitivity'")?;
        self.is("document.querySelector('#code').textContent.includes('Observable::logit_diff')")?;
        self.is("document.querySelector('input[name=map]:checked').value === 'first_order'")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.quiet()
    }

    /// Wrong input: the message of the library is shown, and the page goes on.
    fn mistakes(&self) -> Result {
        let browser = &self.browser;
        self.open("model=atlas-nano")?;
        let wrong = |selector: &str, text: &str, message: &str| {
            let before = browser.run(&format!("return document.querySelector('{selector}').value"))?;
            browser.fill(selector, text)?;
            browser.click("#compute")?;
            self.refuses(&format!("`{text}` in {selector}"), &[message])?;
            browser.fill(selector, before.as_str().unwrap_or_default())
        };
        wrong("#corrupted", "The capital is", "give prompts of the same length")?;
        wrong("#target", "Paris is", "it must be one token")?;
        wrong("#clean", "", "the prompt is empty")?;
        browser.click("#compute")?;
        self.done()?;
        self.quiet()
    }

    /// An own model: the files of a directory.
    fn own_models(&self) -> Result {
        let browser = &self.browser;
        self.open("model=atlas-nano")?;
        let atlas = root().join("crates/model/atlas");
        let paths = ["nano/config.json", "nano/model.safetensors", "tokenizer.json"].map(|name| atlas.join(name));
        browser.keys("#files", &paths.map(|path| path.display().to_string()).join("\n"))?;
        self.done()?;
        self.is("document.body.dataset.model.includes('own-model')")?;
        let hash = browser.run("return explorer.answers().patch.result.metadata.model_hash")?;
        let command = "resolvent run x --model atlas-nano --device host";
        if parsed(&printed(command)?)?["metadata"]["model_hash"] != hash {
            return Err("the model of the user's files has another hash than the same model of the program".to_owned());
        }
        Ok(())
    }

    /// The page on a phone and in the dark.
    fn phone(&self) -> Result {
        self.browser.resize(390, 844)?;
        self.browser.prefer("dark")?;
        self.open("model=atlas-micro&place=2%2C9")?;
        // Drawings have the colours of the page, and fit it.
        let text = "document.querySelectorAll('#scatter text')";
        self.is(&format!(
            "{text}.length > 3 && [...{text}].every((text) => /rgb\\((1[5-9]|2)\\d/.test(getComputedStyle(text).fill))"
        ))?;
        self.is("document.querySelector('#scatter svg').getBoundingClientRect().right <= innerWidth")?;
        // Maps scroll; the page itself does not.
        self.is("document.documentElement.scrollWidth <= innerWidth")?;
        self.browser.picture(&Self::file("phone.png"))?;
        self.browser.resize(1280, 900)?;
        self.browser.picture(&Self::file("dark.png"))
    }

    /// The bench, with the figures of `resolvent bench`.
    fn bench(&self) -> Result {
        self.open("model=atlas-nano")?;
        self.browser.click("#time")?;
        self.done()?;
        let text = "const r = new XMLHttpRequest(); \
            r.open('GET', document.querySelector('#machine-summary a[download=\"bench.json\"]').href, false); \
            r.send(); return r.responseText";
        let bench = parsed(self.browser.run(text)?.as_str().unwrap_or_default())?;
        for key in ["schema", "version", "variants", "first_field", "model_open", "peaks", "warnings", "left_out"] {
            if bench[key].is_null() {
                return Err(format!("the bench has no `{key}`"));
            }
        }
        let count = |list: &str| bench[list].as_array().map_or(0, Vec::len);
        if bench["executor"] != "host" || bench["model"] != "atlas-nano" || count("passes") < 3 || count("kernels") < 10
        {
            return Err(format!(
                "the bench is of {} on {}, with {} passes",
                bench["model"],
                bench["executor"],
                count("passes")
            ));
        }
        self.is("document.querySelectorAll('#machine-table tbody tr').length > 10")?;
        self.browser.click("#check-kernels")?;
        self.refuses("kernels of the host executor", &["nothing to compare its kernels with"])
    }

    /// Every kernel of the browser's WebGPU against its host body. Follows the step before it on its page.
    fn kernels(&self) -> Result {
        if !self.on_gpu()? {
            self.open("device=gpu&place=4%2C9")?;
        }
        self.browser.click("#check-kernels")?;
        self.done()?;
        let summary = self.browser.run("return document.querySelector('#machine-summary').textContent")?;
        eprintln!("{summary}");
        self.is("document.querySelector('#machine-summary').textContent.includes('all are right')")?;
        let rows = "[...document.querySelectorAll('#machine-table tbody tr')].map((row) => row.textContent)";
        self.is(&format!("{rows}.filter((text) => text.endsWith('right')).length > 80"))?;
        // What is left out lacks something, or has a reason of its own.
        self.is(&format!("{rows}.every((text) => !text.includes('no model of the check'))"))?;
        self.browser.picture(&Self::file("kernels.png"))?;
        self.quiet()
    }

    /// The same analyses on the browser's WebGPU.
    fn webgpu(&self) -> Result {
        self.open("device=gpu&place=4%2C9")?;
        let figures = self.browser.run(
            "return [document.querySelector('#runs-on').textContent, document.body.dataset.first, \
             explorer.answers().patch.seconds]",
        )?;
        eprintln!("{}: first map after {} s, patch {} s", figures[0], figures[1], figures[2]);
        self.is("document.querySelector('#runs-on').textContent.startsWith('WebGPU')")?;
        self.compare_all(&["patch", "sensitivity", "green", "lens", "regime", "writers"])?;
        self.quiet()
    }
}
