//! Names and numbers of WAMP: which URIs are URIs, which are the protocol's own, which topics are forms, and where
//! ids come from.

/// Longest URI in bytes.
pub(super) const MAX_URI: usize = 1024;

/// The largest id (WAMP v2, "IDs"): what a double holds exactly.
pub(super) const MAX_ID: u64 = 1 << 53;

/// The loose rule of WAMP v2: components of anything but blanks and `#`, separated by dots, none of them empty.
pub(super) fn is_uri(text: &str) -> bool {
    text.len() <= MAX_URI
        && text.split('.').all(|part| !part.is_empty())
        && !text.contains(|character: char| character.is_whitespace() || character == '#')
}

/// WAMP v1 has URIs of the web for names, and those may have a fragment.
pub(super) fn is_v1_uri(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_URI && !text.contains(char::is_whitespace)
}

/// What begins with `wamp.` is the protocol's own: nobody registers or publishes there.
pub(super) fn is_reserved(uri: &str) -> bool {
    uri == "wamp" || uri.starts_with("wamp.")
}

/// Whether a topic is a form: one of its components says so.
pub(super) fn is_form(topic: &str) -> bool {
    topic.split('.').any(|part| part == "form")
}

/// Draws ids of the global scope. They must differ, and need not be hard to guess: nothing can be done with one.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// Zero: not seeded yet.
    state: u64,
}

impl Ids {
    /// Another id, from 1 to 2^53. `random` is asked once: a system call for each event would be one too many.
    pub(super) fn draw(&mut self, random: fn(&mut [u8])) -> u64 {
        if self.state == 0 {
            let mut seed = [0; 8];
            random(&mut seed);
            self.state = u64::from_ne_bytes(seed);
        }
        // SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        mixed % MAX_ID + 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn uris_have_components_without_blanks() {
        for uri in ["a", "com.example.topic", "form-lock", "com.myapp.ünïcödé", "http://example.com/simple"] {
            assert!(is_uri(uri) && is_v1_uri(uri), "{uri}");
        }
        for uri in ["", ".", "a.", ".a", "a..b", "a b", "a.\tb", "a\u{a0}b", "a#b", &"x".repeat(MAX_URI + 1)] {
            assert!(!is_uri(uri), "{uri}");
        }
        assert!(is_v1_uri("http://example.com/calc#add"));
        assert!(!is_v1_uri("") && !is_v1_uri("a b") && !is_v1_uri(&"x".repeat(MAX_URI + 1)));
    }

    #[test]
    fn a_form_has_a_component_of_that_name() {
        for (topic, form) in
            [("app.form.42", true), ("form", true), ("form.x", true), ("app.forms.1", false), ("app.form-1", false)]
        {
            assert_eq!(is_form(topic), form, "{topic}");
        }
        assert!(is_reserved("wamp.error.canceled") && is_reserved("wamp") && !is_reserved("wampum.x"));
    }

    #[test]
    fn ids_differ_and_fit_a_double() {
        let mut ids = Ids::default();
        let drawn: HashSet<u64> = (0..10_000).map(|_| ids.draw(|bytes| bytes.fill(7))).collect();
        assert_eq!(drawn.len(), 10_000);
        assert!(drawn.iter().all(|id| (1..=MAX_ID).contains(id)));
    }
}
