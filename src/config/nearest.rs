//! "Did you mean …?": the known word that a misspelt one is nearest to.

/// The word of `known` with the fewest letters to change, add or drop, capitals aside; none when more than a third
/// of the letters would have to change, where a guess would only mislead.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().collect();
    known
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let allowed = word.len().max(letters.len()).div_ceil(3);
            (distance(&word, &letters), allowed, candidate)
        })
        .filter(|(distance, allowed, _)| distance <= allowed)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

/// What to say after "expected": the nearest known word, or all of them.
pub(crate) fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("a known one (did you mean {near}?)"),
        None => format!("one of {}", known.join(", ")),
    }
}

/// Levenshtein's distance, row by row.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("adress", "address", 1)]
        {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&a, &b), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_guess_is_made_only_when_it_is_likely() {
        let known = ["maxClients", "maxPerIP", "maxMessage"];
        assert_eq!(nearest("maxclients", known), Some("maxClients"));
        assert_eq!(nearest("maxClient", known), Some("maxClients"));
        assert_eq!(nearest("max_per_ip", known), Some("maxPerIP"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(hint("colour", &["a", "b"]), "one of a, b");
        assert_eq!(hint("rellay", &["echo", "relay"]), "a known one (did you mean relay?)");
    }
}
