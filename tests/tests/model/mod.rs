mod at_sites;
mod atlas;
mod batches;
mod costs;
mod edited;
mod ensemble;
mod f16;
mod first_use;
mod generate;
mod goldens;
mod gpt2_shape;
mod heads;
mod hvp;
mod jets;
mod launches;
mod limits;
mod modes;
mod modes_of_families;
mod norms;
mod parts;
mod pattern_sweep;
mod patterns;
mod readouts;
mod real;
mod results;
mod sites;
mod sort_nano;
mod sweep;
mod under;
mod windows;

use resolvent_model::{Edit, Model, Run, RunOptions, Site, Source};
use resolvent_tests::{Random, Subject, Twin};

/// Runs a prompt with captures at every site of the twin.
fn prepared(twin: &Twin, on: &Subject, tokens: &[u32], edits: &[Edit]) -> Run {
    prepare(&twin.on(on), twin.sites(), tokens, edits)
}

fn prepare(model: &Model, sites: Vec<Site>, tokens: &[u32], edits: &[Edit]) -> Run {
    let options = RunOptions { edits: edits.to_vec(), sites };
    model.run_with(tokens, &options).unwrap_or_else(|e| panic!("{}: {e}", model.device().info()))
}

/// Returns one site of every kind, in various blocks, with the last head.
fn kinds(twin: &Twin) -> Vec<Site> {
    let (l, h) = (twin.config.n_layer - 1, twin.config.n_head - 1);
    let whole = [Site::ResidPre(l), Site::ResidMid(0), Site::ResidPost(0), Site::ResidPost(l)];
    let parts = [
        Site::AttnOut(l),
        Site::MlpOut(0),
        Site::Q(l, h),
        Site::K(l, h),
        Site::V(0, h),
        Site::Z(0, h),
        Site::Result(l, h),
    ];
    whole.into_iter().chain(parts).chain([Site::Embed, Site::PosEmbed]).collect()
}

/// Returns an edit of the `kind`-th kind, with a vector of the size of typical values.
fn change(twin: &Twin, site: Site, token: usize, (kind, random): (usize, &mut Random)) -> Edit {
    let s = random.normals(site.width(&twin.sizes()));
    match kind % 6 {
        0 => Edit::add(site, token, s),
        1 => Edit::put(site, token, s),
        2 => Edit::scale(site, token, random.normal()),
        3 => Edit::project_out(site, token, s),
        4 => Edit::ablate(site, token),
        _ => Edit::ablate_to_mean(site, token, s),
    }
}

/// Returns `n` edits of random kinds; every third is at the same place as the one before it.
fn changes(twin: &Twin, tokens: usize, n: usize, random: &mut Random) -> Vec<Edit> {
    let sites = twin.sites();
    let mut place = (sites[0], 0);
    let edit = |i: usize| {
        if i % 3 != 2 {
            place = (sites[random.below(sites.len())], random.below(tokens));
        }
        let kind = random.below(6);
        change(twin, place.0, place.1, (kind, random))
    };
    (0..n).map(edit).collect()
}

/// Returns a source with normal elements.
fn source(twin: &Twin, site: Site, token: usize, random: &mut Random) -> Source {
    Source { site, token, vector: random.normals(site.width(&twin.sizes())) }
}
