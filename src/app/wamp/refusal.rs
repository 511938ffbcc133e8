//! Why something that a client asked for is not done: the URI that programs go by, and a sentence for people.

use std::borrow::Cow;

// WAMP v2, "Predefined URIs".
pub(super) const CANCELED: &str = "wamp.error.canceled";
pub(super) const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";
pub(super) const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";
pub(super) const INVALID_URI: &str = "wamp.error.invalid_uri";
pub(super) const NO_SUCH_PROCEDURE: &str = "wamp.error.no_such_procedure";
pub(super) const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";
pub(super) const NO_SUCH_SUBSCRIPTION: &str = "wamp.error.no_such_subscription";
pub(super) const OPTION_NOT_ALLOWED: &str = "wamp.error.option_not_allowed";
pub(super) const PROCEDURE_EXISTS: &str = "wamp.error.procedure_already_exists";
pub(super) const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
pub(super) const SYSTEM_SHUTDOWN: &str = "wamp.close.system_shutdown";
pub(super) const TIMEOUT: &str = "wamp.error.timeout";

// This server's own.
pub(super) const FORM_LOCKED: &str = "websock.error.form_locked";
pub(super) const FORM_NOT_LOCKED: &str = "websock.error.form_not_locked";
pub(super) const TOO_MANY: &str = "websock.error.too_many";

/// A request that is answered with an error.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) uri: &'static str,
    pub(super) why: Cow<'static, str>,
    /// A JSON object for programs, where there is more to say.
    pub(super) details: Option<String>,
}

impl Refusal {
    pub(super) fn new(uri: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { uri, why: why.into(), details: None }
    }

    pub(super) fn with_details(self, details: String) -> Self {
        Self { details: Some(details), ..self }
    }
}
