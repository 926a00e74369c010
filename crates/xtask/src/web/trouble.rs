//! Trouble in the page: each kind is shown with its message, and the page remains usable.

use std::fs;

use super::large::{self, Format, Shape};
use super::page::{PATIENCE, Page};
use crate::process::{Result, root};

/// All results of a page with a place.
const ALL: [&str; 6] = ["patch", "sensitivity", "green", "lens", "regime", "writers"];

/// Two short prompts for a large model.
const SHORT: &str = "clean=The+capital+of+France+is&corrupted=The+capital+of+Italy+is&target=+Paris&against=+Rome";

impl Page {
    /// Chooses files as a user's model.
    fn choose(&self, files: &[std::path::PathBuf]) -> Result {
        // Otherwise the driver adds files to those that were chosen before.
        self.browser.run("document.querySelector('#files').value = ''")?;
        let paths: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
        self.browser.keys("#files", &paths.join("\n"))
    }

    /// Chooses an embedded model, and waits for its results.
    fn recovers(&self, model: &str) -> Result {
        let choice =
            "const m = document.querySelector('#model'); m.value = '{model}'; m.dispatchEvent(new Event('change'))";
        self.browser.run(&choice.replace("{model}", model))?;
        self.done()?;
        self.is("document.querySelectorAll('#map [role=gridcell]').length > 0")
    }

    /// Damaged and strange files.
    pub(super) fn hostile_files(&self) -> Result {
        self.open("model=atlas-nano")?;
        let atlas = root().join("crates/model/atlas");
        let [config, weights, tokenizer] =
            ["nano/config.json", "nano/model.safetensors", "tokenizer.json"].map(|name| atlas.join(name));
        let whole = fs::read(&weights).map_err(|e| format!("{}: {e}", weights.display()))?;
        let settings = fs::read_to_string(&config).map_err(|e| format!("{}: {e}", config.display()))?;
        // The name of a file decides what it is, so each has a folder of its own.
        let file = |folder: &str, name: &str, bytes: &[u8]| {
            fs::create_dir_all(Self::file(folder)).map_err(|e| format!("{folder}: {e}"))?;
            Self::write(&format!("{folder}/{name}"), bytes)
        };
        let endless = [&(1u64 << 63).to_le_bytes(), &whole[8..]].concat();
        let counts = |tensors: u64, keys: u64| {
            [b"GGUF", &3u32.to_le_bytes()[..], &tensors.to_le_bytes(), &keys.to_le_bytes(), &[0; 64]].concat()
        };
        let stranger = settings.replace("\"gpt2\"", "\"mamba\"").replace("GPT2LMHeadModel", "MambaForCausalLM");
        let cases = [
            (
                vec![Self::write("none.gguf", b"not a model")?],
                &["none", "does not begin with GGUF", "download or export it again"][..],
            ),
            (
                vec![config.clone(), tokenizer.clone(), file("cut", "model.safetensors", &whole[..100_000])?],
                &["model.safetensors", "truncated", "download or export it again"],
            ),
            (
                vec![config.clone(), tokenizer.clone(), file("endless", "model.safetensors", &endless)?],
                &["its header is declared to be 9223372036854775808 bytes", "download or export it again"],
            ),
            (vec![Self::write("tensors.gguf", &counts(1 << 63, 0))?], &["tensors.gguf", "download or export it again"]),
            (vec![Self::write("keys.gguf", &counts(0, 1 << 63))?], &["keys.gguf", "download or export it again"]),
            (
                vec![file("stranger", "config.json", stranger.as_bytes())?, tokenizer, weights.clone()],
                &[
                    "config.json: this family of models is not supported (model_type is `mamba`, and it needs state-space",
                    "supported values of model_type: ",
                ],
            ),
            (
                vec![config.clone(), weights.clone(), file("tokens", "tokenizer.json", b"{}")?],
                &["tokenizer.json", "download the tokenizer again, or use token ids"],
            ),
            (vec![weights], &["has no config.json"]),
        ];
        for (files, parts) in cases {
            self.choose(&files)?;
            self.refuses(&format!("{files:?}"), parts)?;
        }
        self.browser.resize(390, 844)?;
        self.is("document.documentElement.scrollWidth <= innerWidth")?;
        self.browser.picture(&Self::file("hostile-phone.png"))?;
        self.recovers("atlas-nano")?;
        self.quiet()
    }

    /// A page that is closed or loaded again in the middle of its work, and a transfer that breaks off.
    pub(super) fn closed(&self) -> Result {
        let settings = "place=4%2C9&direction=sensitivity";
        self.open("model=atlas-nano")?;
        for (what, sign) in [
            ("the transfer", "document.querySelector('#status').textContent.startsWith('loading')"),
            ("the sweep", "document.querySelector('#status').textContent.startsWith('patching')"),
            ("the response", "!document.querySelector('#effects').hidden"),
        ] {
            self.begin(settings)?;
            self.browser.wait(what, &format!("return {sign}"), PATIENCE)?;
            self.browser.run("location.reload()")?;
            self.browser.wait("the page is loaded again", "return document.readyState === 'complete'", PATIENCE)?;
            self.done()?;
            self.is("document.querySelector('#direction').value === 'sensitivity'")?;
            self.is("document.querySelector('#place-title').textContent.includes('h[4,9]')")?;
            self.begin(settings)?;
            self.browser.wait(what, &format!("return {sign}"), PATIENCE)?;
            self.browser.go("about:blank")?;
        }
        self.open(settings)?;
        self.compare_all(&ALL)?;
        self.quiet()?;
        // A server that goes away in the middle of a file, once.
        let breaks = "const whole = fetch; let first = true;
            self.fetch = async (address) => {
              const answer = await whole(address);
              if (!first || !String(address).includes('atlas-nano.tar')) return answer;
              first = false;
              const cut = new TransformStream({ transform: (piece, to) => to.error(new TypeError('network error')) });
              return new Response(answer.body.pipeThrough(cut));
            };\n";
        self.altered("cut-transfer", "model=atlas-nano", |worker| breaks.to_owned() + &worker)?;
        self.refuses("a transfer breaks off", &["atlas-nano.tar cannot be read to its end", "try again"])?;
        self.browser.click("#compute")?;
        self.done()?;
        self.compare_all(&["patch", "sensitivity"])?;
        // A server that answers with something else, or with less.
        for (name, body, said) in [
            ("no-archive", "'<p>not here'.repeat(100)", "the server sends no model"),
            (
                "short-archive",
                "(await answer.arrayBuffer()).slice(0, 5000)",
                "atlas-nano.tar cannot be read to its end (only 5000 bytes arrived); try again",
            ),
        ] {
            let sends = format!(
                "const whole = fetch;
                self.fetch = async (address) => {{
                  const answer = await whole(address);
                  return String(address).endsWith('.tar') ? new Response({body}) : answer;
                }};\n"
            );
            self.altered(name, "model=atlas-nano", |worker| sends.clone() + &worker)?;
            self.refuses(name, &[said])?;
        }
        Ok(())
    }

    /// Files and weights that do not fit, and memory that is at its end in the middle of work.
    pub(super) fn memory(&self) -> Result {
        self.open("model=atlas-nano")?;
        let huge = Self::write("huge.gguf", b"GGUF")?;
        let grown = fs::OpenOptions::new().write(true).open(&huge).and_then(|file| file.set_len(5 << 30));
        grown.map_err(|e| format!("{}: {e}", huge.display()))?;
        self.choose(std::slice::from_ref(&huge))?;
        self.refuses(
            "a file of 5 GiB",
            &["no memory for huge.gguf: it has 5.0 GiB", "a page has 4.0 GiB", "smaller model"],
        )?;
        // More than can be addressed, and more than fits beside the file.
        let wide = Self::file("wide.gguf");
        for (blocks, parts) in [
            (22, ["the sizes ask for 4", "bytes of weights, and 4294967295 can be addressed", "use a smaller model"]),
            (20, ["the weights take 3.8", "GiB of files, and a program here has 4.00 GiB", "use a smaller model"]),
        ] {
            large::write(&wide, &Shape { blocks, d: 2048, inner: 5632 }, Format::Zeros)?;
            self.choose(std::slice::from_ref(&wide))?;
            self.refuses(&format!("weights of {blocks} blocks"), &parts)?;
        }
        self.browser.picture(&Self::file("memory.png"))?;
        for file in [huge, wide] {
            fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        self.recovers("atlas-nano")?;
        self.quiet()?;
        // All memory but 20 MiB is taken before the engine begins.
        let taken = "memory = module.memory;\n  memory.grow(65536 - memory.buffer.byteLength / 65536 - 320);";
        self.altered("full", "model=atlas-small", |worker| worker.replace("memory = module.memory;", taken))?;
        self.refuses("memory is at its end", &["the engine stopped: ", "4.0 of 4.0 GiB", "use a smaller model"])?;
        self.recovers("atlas-nano")
    }

    /// A model of 300 MB: a progress bar, a map, the numbers of the command line.
    pub(super) fn large_file(&self) -> Result {
        self.open(&format!("model=atlas-nano&{SHORT}"))?;
        let path = Self::file("large.gguf");
        large::write(&path, &Shape { blocks: 12, d: 1024, inner: 2816 }, Format::F16)?;
        let watch = "window.seen = []; const bar = document.querySelector('#progress'); \
            new MutationObserver(() => seen.push([document.querySelector('#status').textContent, bar.value])) \
              .observe(bar, { attributes: true });";
        self.browser.run(watch)?;
        self.choose(std::slice::from_ref(&path))?;
        let reading =
            "return document.querySelector('#progress').value > 0.3 && !document.querySelector('#progress').hidden";
        self.browser.wait("the file is read", reading, PATIENCE)?;
        self.browser.picture(&Self::file("large-progress.png"))?;
        self.done()?;
        for doing in ["reading your files", "opening the model"] {
            let between =
                format!("seen.filter(([text, part]) => text === '{doing}' && part > 0 && part < 1).length > 1");
            self.is(&between)?;
        }
        let figures = self.browser.run(
            "return [explorer.answers().patch.seconds, explorer.answers().patch.memory / 2 ** 20, \
             document.body.dataset.opened]",
        )?;
        eprintln!("300 MB: opened in {} s, patch {} s, {} MiB", figures[2], figures[0], figures[1]);
        self.compare_with(&["patch", "sensitivity"], &|command| {
            command.replace("'path/to/large'", &format!("'{}'", path.display()))
        })?;
        self.browser.picture(&Self::file("large.png"))?;
        fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        self.quiet()
    }

    /// A GPU that is lost, while the page is idle and in the middle of work.
    pub(super) fn lost_device(&self) -> Result {
        let said = ["the GPU is lost (", "goes on with the host executor", "Compute tries the GPU again"];
        let host = "document.querySelector('#runs-on').textContent.startsWith('host executor')";
        // The page of the step before this one has passed its self-test, which takes long.
        if !self.on_gpu()? {
            self.open("device=gpu&place=4%2C9")?;
        }
        self.browser.end_gpu()?;
        self.browser.click("#map [data-place='3,9']")?;
        self.refuses("the GPU is lost", &said)?;
        self.is(host)?;
        self.is("document.querySelectorAll('#map [role=gridcell]').length === 9 * 14")?;
        self.browser.picture(&Self::file("lost.png"))?;
        self.compare_all(&ALL)?;
        // Another try, during which it is lost again.
        self.browser.click("#compute")?;
        let patching = "return document.querySelector('#status').textContent.startsWith('patching')";
        self.browser.wait("the GPU is tried again", patching, PATIENCE)?;
        self.is(&format!("!{host}"))?;
        self.browser.end_gpu()?;
        self.refuses("the GPU is lost again", &said)?;
        self.is(host)?;
        self.compare_all(&ALL)
    }

    /// Opens the page on a GPU whose driver compiles other kernels than those of the page.
    fn miscompiled(&self, name: &str, code: &str) -> Result {
        let broken = format!(
            "const whole = GPUDevice.prototype.createShaderModule;
            GPUDevice.prototype.createShaderModule = function (text) {{
              return whole.call(this, {{ ...text, code: {code} }});
            }};\n"
        );
        self.altered(name, "device=gpu", |worker| broken.clone() + &worker)
    }

    /// A driver that computes square roots wrongly is refused before it gives a number.
    pub(super) fn broken_driver(&self) -> Result {
        self.miscompiled("broken", "text.code.replaceAll('sqrt(', '0.999 * sqrt(')")?;
        self.refuses("a broken driver", &["fails its self-test (layer_norm.primal", "update its driver"])?;
        self.is("Object.keys(explorer.answers()).length === 0")
    }

    /// A kernel that is wrong, and that only a later analysis uses, is refused there. Nothing shows one of its numbers.
    pub(super) fn broken_later(&self) -> Result {
        let code =
            "text.label === 'attention_second' ? text.code.replaceAll('* p.scale', '* (0.999 * p.scale)') : text.code";
        self.miscompiled("broken-later", code)?;
        let said = ["the GPU computes wrongly (", "attention_second.jet", "goes on with the host executor"];
        self.refuses("a kernel that is wrong", &said)?;
        self.is("document.querySelector('#runs-on').textContent.startsWith('host executor')")?;
        self.compare_all(&["patch", "sensitivity"])
    }
}
