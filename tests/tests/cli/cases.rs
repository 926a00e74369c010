//! The arrays and certificates that each command must write, according to the documentation of result files.

use resolvent_tests::Golden;

/// A command, the arrays that it must write (name, axes, shape), and the certificates.
pub(super) struct Case {
    pub(super) arguments: Vec<String>,
    pub(super) arrays: Vec<(&'static str, &'static str, Vec<usize>)>,
    pub(super) certificates: &'static [&'static str],
}

const FIELD: &str = "level,token,d";
const MAP: &str = "level,token";

pub(super) fn list(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

pub(super) fn cases(golden: &Golden) -> Vec<Case> {
    let tokens = list(&golden.tokens);
    let mut corrupted = golden.tokens.clone();
    corrupted[3] = (corrupted[3] + 7) % 53;
    let (corrupted, t) = (list(&corrupted), golden.tokens.len());
    let case = |text: &str, arrays, certificates| Case {
        arguments: text.split(' ').map(str::to_owned).chain(["--tokens".to_owned(), tokens.clone()]).collect(),
        arrays,
        certificates,
    };
    let field = |name| (name, FIELD, vec![3, t, 30]);
    let map = |name| (name, MAP, vec![3, t]);
    let one = |name| (name, "value", vec![1]);
    let logits = |rows| ("logits", "token,vocab", vec![rows, 53]);
    vec![
        case("run", vec![field("field"), logits(t)], &["last_row_alone"]),
        case("run --last", vec![field("field"), logits(1)], &["last_row_alone"]),
        case(
            "sensitivity --target #3 --against #11 --position -1",
            vec![field("sensitivity"), map("norm"), one("value")],
            &["adjoint", "slope"],
        ),
        case(
            &format!("patch --target #3 --against #11 --corrupted-tokens {corrupted}"),
            vec![map("effect"), map("first_order"), one("clean_value"), one("corrupted_value")],
            &["restores", "alone", "adjoint"],
        ),
        case(
            "green --source 1,-2 --direction token:#7 --unit",
            vec![field("response"), map("norm")],
            &["causal_zeros", "slope", "adjoint"],
        ),
        case(
            &format!("green --source=-1,4 --direction displacement --donor-tokens {corrupted}"),
            vec![field("response"), map("norm")],
            &["causal_zeros", "slope", "adjoint"],
        ),
        case(
            "green --source 0,2 --direction sensitivity --target #3 --position -1",
            vec![field("response"), map("norm")],
            &["causal_zeros", "slope", "adjoint"],
        ),
        case("green --source 0,0", vec![field("response"), map("norm")], &["causal_zeros", "slope", "adjoint"]),
        case("slice --basis random:3 --rank 4 --readout unembed:#7,#2,#9,#1", slices(3 * t * (t + 1) / 2), SLICE),
        case(
            &format!("slice --basis displacement --donor-tokens {corrupted} --to=-1,-1 --from 0 1,2 -k 1"),
            vec![
                ("pairs", "pair,place", vec![t + 1, 4]),
                ("blocks", "pair,readout,source", vec![t + 1, 1, 1]),
                ("singular_values", "pair,value", vec![t + 1, 1]),
                ("effective_rank", "pair", vec![t + 1]),
            ],
            SLICE,
        ),
        case(
            "slice --svd --from 0,1 0,2 --to 2 --rank 3 --power 3",
            vec![
                ("svd_values", "triplet", vec![3]),
                ("svd_left", "triplet,place,d", vec![3, t, 30]),
                ("svd_right", "triplet,place,d", vec![3, 2, 30]),
                ("svd_residual", "triplet,side", vec![3, 2]),
                ("svd_range", "triplet,end", vec![3, 2]),
                ("svd_bound", "value", vec![1]),
                ("svd_to", "to,place", vec![t, 2]),
                ("svd_from", "from,place", vec![2, 2]),
            ],
            &["adjoint", "triplets"],
        ),
        case(
            &format!(
                "subspace --site blocks.1.hook_resid_pre --token 3 --directions random:5 --target #3 --corrupted-tokens {corrupted}"
            ),
            vec![
                one("whole_effect"),
                one("effect"),
                one("row_effect"),
                one("kernel_effect"),
                one("moved_row_effect"),
                one("moved_kernel_effect"),
                one("random"),
                one("first_order"),
                ("kernel", "direction", vec![1]),
                ("by_kernel", "direction", vec![1]),
                one("moved_kernel"),
                one("whole_kernel"),
                one("gain"),
                one("rank"),
                ("source", "d,direction", vec![30, 1]),
            ],
            &["alone"],
        ),
        case(
            &format!("patch --sites resid,mlp_out,z --target #3 --corrupted-tokens {corrupted}"),
            vec![
                map("effect"),
                map("first_order"),
                ("effect.mlp_out", "block,token", vec![2, t]),
                ("first_order.mlp_out", "block,token", vec![2, t]),
                ("effect.z", "block,head,token", vec![2, 3, t]),
                ("first_order.z", "block,head,token", vec![2, 3, t]),
                one("clean_value"),
                one("corrupted_value"),
            ],
            &["restores", "alone", "adjoint"],
        ),
        case(
            &format!(
                "patch --predictors curvature,hvp,integrated,relp --sites resid,k --interactions 3 --target #3 --corrupted-tokens {corrupted}"
            ),
            vec![
                map("effect"),
                map("first_order"),
                ("predicted", "predictor,level,token", vec![5, 3, t]),
                ("cost", "predictor", vec![5]),
                map("reliability"),
                ("effect.k", "block,head,token", vec![2, 3, t]),
                ("first_order.k", "block,head,token", vec![2, 3, t]),
                ("predicted.k", "predictor,block,head,token", vec![5, 2, 3, t]),
                ("cost.k", "predictor", vec![5]),
                ("reliability.k", "block,head,token", vec![2, 3, t]),
                ("interaction", "source,with", vec![3, 3]),
                ("interaction_actual", "source,with", vec![3, 3]),
                ("interaction_single", "source", vec![3]),
                one("interaction_size"),
                one("superadditive"),
                one("interaction_error"),
                one("clean_value"),
                one("corrupted_value"),
            ],
            &[
                "restores",
                "alone",
                "adjoint",
                "forward_reverse",
                "second_order",
                "adjoint_relp",
                "adjoint_between",
                "triangles",
                "symmetry",
            ],
        ),
        case(
            "sensitivity --target #3 --direction token:#7",
            vec![field("sensitivity"), map("norm"), one("value"), map("directional")],
            &["adjoint", "slope"],
        ),
        case(
            "green --source 0,1 --geometry --directions 3 --norms 4",
            vec![
                field("response"),
                map("norm"),
                ("energy", "level", vec![3]),
                ("stays", "level", vec![3]),
                ("centroid", "level", vec![3]),
                ("width", "level", vec![3]),
                ("front", "level", vec![3]),
                ("by_distance", "level,distance", vec![3, t]),
                one("velocity"),
                ("gain", "direction,level", vec![3, 3]),
                ("anisotropy", "level", vec![3]),
                map("block_norm"),
                map("block_norm_error"),
            ],
            &["causal_zeros", "slope", "adjoint"],
        ),
        case(
            "regime --target #3 --direction random:2 --unit --sites=1,-1 --sites 0,1 --amplitudes 0.01,-0.1,1 --field",
            vec![
                ("sites", "site,place", vec![2, 2]),
                ("amplitudes", "amplitude", vec![3]),
                ("finite", "site,amplitude", vec![2, 3]),
                ("error", "site,amplitude", vec![2, 3]),
                ("radius", "site", vec![2]),
                ("first_order", "site", vec![2]),
                ("second", "site", vec![2]),
                ("jet_radius", "site", vec![2]),
                ("field_error", "site,amplitude", vec![2, 3]),
            ],
            &["forward_reverse", "small_amplitude", "adjoint"],
        ),
        case(
            &format!(
                "quadratic --target #3 --at 0,1 --rank 2 --samples 3 --amplitudes 0.1,1 --donor-tokens {corrupted}"
            ),
            vec![
                ("slope", "direction", vec![2]),
                ("curvature", "direction", vec![2]),
                ("direction", "direction,d", vec![2, 30]),
                ("top_tokens", "direction,rank", vec![2, 5]),
                ("size", "value", vec![1]),
                ("captured", "value", vec![1]),
                ("amplitudes", "amplitude", vec![2]),
                ("response", "amplitude,sample", vec![2, 3]),
                ("first", "amplitude,sample", vec![2, 3]),
                ("second", "amplitude,sample", vec![2, 3]),
                ("error_first", "amplitude", vec![2]),
                ("error_second", "amplitude", vec![2]),
                ("moved_share", "value", vec![1]),
                ("moved_effect", "value", vec![1]),
                ("moved_within", "value", vec![1]),
                ("moved_first", "value", vec![1]),
                ("moved_second", "value", vec![1]),
            ],
            &["triangles", "along", "alone"],
        ),
        case(
            &format!("transfer --donor-tokens {corrupted} --target #3 --against #11 --controls 2 --scale 0.5"),
            vec![map("fraction"), ("value", "run", vec![2]), map("random"), map("random_low"), map("random_high")],
            &["alone"],
        ),
        case(
            "invert --goal 0.5 --goal #4:0 --target #3 --against #11 --sparse 1 --refine 3",
            vec![
                ("sites", "site,place", vec![1, 2]),
                ("sources", "site,d", vec![1, 30]),
                ("relative", "site", vec![1]),
                ("target", "goal", vec![2]),
                ("predicted", "goal", vec![2]),
                ("achieved", "goal", vec![2]),
                one("energy"),
                ("baseline_energy", "baseline", vec![4]),
                ("baseline_predicted", "baseline,goal", vec![4, 2]),
                ("baseline_achieved", "baseline,goal", vec![4, 2]),
            ],
            &["forward_reverse", "adjoint"],
        ),
    ]
}

const SLICE: &[&str] = &["causal_zeros", "slope", "adjoint", "composition", "other_pass"];

/// Returns the arrays of a slice of n pairs whose blocks are 4 x 4.
fn slices(n: usize) -> Vec<(&'static str, &'static str, Vec<usize>)> {
    vec![
        ("pairs", "pair,place", vec![n, 4]),
        ("blocks", "pair,readout,source", vec![n, 4, 4]),
        ("singular_values", "pair,value", vec![n, 4]),
        ("effective_rank", "pair", vec![n]),
    ]
}
