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

/// A feature that the configuration knows and the program doesn't have yet.
struct Unbuilt {
    feature: &'static str,
    section: Option<&'static str>,
    /// The keys that ask for the feature, each with what it is set to, in the words of a message.
    asked: fn(&Config) -> Vec<(&'static str, String)>,
}

/// **Whoever builds one of these deletes its row.**
const UNBUILT: &[Unbuilt] = &[Unbuilt {
    feature: "the ZeroMQ queue",
    section: Some("zmq"),
    asked: |config| {
        let on = !config.zmq.bind.is_empty();
        on.then(|| ("bind", "an endpoint".to_owned())).into_iter().collect()
    },
}];

/// What is asked for and not there. An error and not a warning: an administrator would believe it on.
pub(super) fn not_built(config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for Unbuilt { feature, section, asked } in UNBUILT {
        for (key, found) in asked(config) {
            complaints.push(Complaint {
                section: *section,
                key,
                because: None,
                mismatch: Mismatch::new(found, format!("it unset: this build does not have {feature} yet")),
            });
        }
    }
    complaints
}
