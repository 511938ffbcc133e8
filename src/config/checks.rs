//! What can be told only from the configuration as a whole: settings that need each other, and settings that this build
//! can't keep. The command line is checked by the same functions.

use super::Config;
use super::report::Mismatch;

/// A setting that is right by itself and wrong here.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// None for flat keys.
    pub(crate) section: Option<&'static str>,
    pub(crate) key: &'static str,
    /// Another key of the section that the complaint rests on; where that one couldn't be read, there is no ground for it.
    pub(crate) because: Option<&'static str>,
    pub(crate) mismatch: Mismatch,
}

/// Settings without the others that they need.
pub(super) fn incomplete(config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut needs = |section, key, because, found: &str, expected: &str| {
        complaints.push(Complaint { section, key, because: Some(because), mismatch: Mismatch::new(found, expected) });
    };
    match (&config.cert_file, &config.key_file) {
        (Some(_), None) => needs(None, "certFile", "pkFile", "no pkFile", "certFile and pkFile together"),
        (None, Some(_)) => needs(None, "pkFile", "certFile", "no certFile", "certFile and pkFile together"),
        _ => {}
    }
    let secure = config.listen.iter().find(|address| address.is_secure());
    if let (Some(address), None, None) = (secure, &config.cert_file, &config.key_file) {
        let found = format!("{address} and no certificate");
        needs(None, "address", "certFile", &found, "certFile and pkFile to be set for wss://");
    }
    if !config.api.allowed_origins.is_empty() && config.api.keys.is_empty() {
        let expected = "keys as well: calls without one are never for pages of other sites";
        needs(Some("api"), "allowedOrigins", "keys", "no keys", expected);
    }
    let login = &config.session_login;
    if login.require {
        for (key, missing) in [
            ("ssp", login.save_path.is_none()),
            ("cookie_name", login.cookie_name.is_empty()),
            ("key", login.key.is_empty()),
        ] {
            if missing {
                let expected = format!("{key} to be set where a session is required");
                needs(Some("jsauth"), "require", key, &format!("no {key}"), &expected);
            }
        }
    }
    complaints
}

/// What is asked for and was left out when the program was built. An error and not a warning: an administrator would
/// believe it on.
pub(super) fn not_built(config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !cfg!(feature = "zmq") && !config.zmq.bind.is_empty() {
        let expected = "it unset: this program was built without the queue (cargo build --release --features zmq)";
        let mismatch = Mismatch::new("an endpoint", expected);
        complaints.push(Complaint { section: Some("zmq"), key: "bind", because: None, mismatch });
    }
    complaints
}
