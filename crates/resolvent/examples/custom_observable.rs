//! An observable of your own: the scalar that every analysis explains.
//!
//!     cargo run --release -p resolvent --example custom_observable

use std::error::Error;

use resolvent::model::ObservableContext;
use resolvent::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    // A GPU if there is one, otherwise this computer's processor. The model is part of the program.
    let device = open(&Options::default())?;
    let model = Model::named(&device, "atlas-micro")?;
    let tokenizer = model.tokenizer().ok_or("this model has no tokenizer")?;
    let tokens = tokenizer.prompt("When Mary and John went to the store, Mary gave a drink to")?;
    let run = model.run(&tokens, &[])?;

    // A term is read at a position, here the last token, whose logits predict the next one. Terms can be added and
    // scaled.
    let last = tokens.len() - 1;
    let (john, mary) = (model.token(" John")?, model.token(" Mary")?);
    let built = Observable::log_prob(john, last) - 0.5 * Observable::log_prob(mary, last);
    let built = built + 0.1 * Observable::entropy(last);

    // The same as text, as from a configuration file. Without `@POSITION`, a term is read at the last token.
    let text = r#"logprob(" John") - 0.5 * logprob(" Mary") + 0.1 * entropy()"#;
    let context = ObservableContext { tokens: tokens.len(), tokenizer: Some(tokenizer), ..Default::default() };
    let parsed = Observable::parse(text, &context)?;
    assert_eq!(parsed, built);

    println!("J = {parsed}");
    println!("  = {:.4}", run.value(&parsed)?);

    // dJ/dh[l, t]: how fast J changes with the residual stream at each level and token. A check that fails is an error.
    let result = resolvent::sensitivity(&run, &parsed)?;
    let norms = result.array("norm").ok_or("every sensitivity has norms")?;
    let mut places: Vec<(f32, usize)> = norms.data.iter().copied().zip(0..).collect();
    places.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest sensitivities:");
    for (norm, place) in places.iter().take(5) {
        let (level, token) = (place / tokens.len(), place % tokens.len());
        println!("  {norm:7.3}  h[{level}, {token}]  {:?}", tokenizer.token(tokens[token]));
    }
    Ok(())
}
