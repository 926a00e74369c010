//! Compares the output that a page shows with the printed output.

/// Checks that the lines of `shown` were printed in this order. A page may leave out lines in between.
///
/// Words must be the same, and numbers must agree to the last digit that the page shows. Times and figures in powers of
/// ten, such as the error of a check, depend on the machine, so any number matches them. A line that ends in ` ...`
/// matches the beginning of a printed line. A line `...` is skipped.
pub(crate) fn compare(shown: &str, printed: &str) -> Result<(), String> {
    let mut rest = printed.lines();
    for line in shown.lines().map(str::trim).filter(|line| !line.is_empty() && *line != "...") {
        if !rest.any(|other| is_same_line(line, other)) {
            let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
            let alike = printed.lines().filter(|other| first(other) == first(line));
            let alike: String = alike.map(|other| format!("\n  {other}")).collect();
            let found = if alike.is_empty() { "\n  (no line begins like it)" } else { &alike };
            return Err(format!("the page shows\n  {line}\nand what was printed does not, in this order:{found}"));
        }
    }
    Ok(())
}

fn is_same_line(shown: &str, printed: &str) -> bool {
    let (shown, is_whole) = match shown.strip_suffix(" ...") {
        Some(start) => (start, false),
        None => (shown, true),
    };
    let (shown, printed): (Vec<&str>, Vec<&str>) =
        (shown.split_whitespace().collect(), printed.split_whitespace().collect());
    let same = shown.iter().zip(&printed).enumerate().all(|(i, (a, b))| {
        let is_time = shown.get(i + 1).is_some_and(|unit| ["s", "ms"].contains(&unit.trim_matches([',', ';'])));
        is_same_word(a, b, is_time)
    });
    same && shown.len() <= printed.len() && (shown.len() == printed.len() || !is_whole)
}

/// Splits a word into the text before its number, the number, and the text after it.
fn parts(word: &str) -> Option<[&str; 3]> {
    let start = word.find(|c: char| c.is_ascii_digit())?;
    let signed = word[..start].ends_with(['-', '+']);
    let start = start - usize::from(signed);
    let is_part = |(i, c): &(usize, char)| {
        let after_e = word[..start + i].ends_with('e');
        c.is_ascii_digit() || "+-".contains(*c) && (*i == 0 || after_e) || ".e".contains(*c) && *i > 0
    };
    let tail = &word[start..];
    let mut length = tail.char_indices().take_while(is_part).map(|(i, c)| i + c.len_utf8()).last()?;
    while tail[..length].ends_with(['.', 'e']) {
        length -= 1;
    }
    Some([&word[..start], &tail[..length], &tail[length..]])
}

fn is_same_word(shown: &str, printed: &str, is_time: bool) -> bool {
    if shown == printed {
        return true;
    }
    let (Some([before, a, after]), Some([other_before, b, other_after])) = (parts(shown), parts(printed)) else {
        return false;
    };
    let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else { return false };
    let in_powers = a.contains('e') && b.contains('e');
    let step = match a.split_once('.') {
        Some((_, decimals)) => 0.1f64.powi(decimals.len() as i32),
        None => 0.0,
    };
    let near = in_powers || is_time || (x - y).abs() <= 1.5 * step;
    before == other_before && after == other_after && near
}

#[test]
fn printed_lines_match() {
    let printed =
        "wrote a.safetensors\nJ = logit(#3) = 0.2822\n h1  0.06  -1.10\nchecks: slope 3.1e-4 (at most 5e-2), x 1\n";
    for shown in [
        printed,
        "J = logit(#3) = 0.2823",
        "wrote a.safetensors\n...\nh1 0.06 -1.11",
        "checks: slope 1.0e-6 (at most 5e-2), ...",
        "",
    ] {
        assert_eq!(compare(shown, printed), Ok(()));
    }
}

#[test]
fn other_lines_do_not_match() {
    let printed = "J = logit(#3) = 0.2822\nh1 0.06 12 in 3.5 s\n";
    for shown in [
        "J = logit(#4) = 0.2822",
        "J = logit(#3) = 0.2842",
        "J = logit(#3) = -0.2822",
        "J = logit(#3)",
        "h1 0.06 13 in 3.5 s",
        "h1 0.06 12 in 3.5 s\nJ = logit(#3) = 0.2822",
        "h1 0.06 12 in 3.5 s more",
        "h2 ...",
    ] {
        assert!(compare(shown, printed).is_err(), "{shown}");
    }
    assert_eq!(compare("h1 0.06 12 in 9.9 s", printed), Ok(()), "times are the machine's");
}
