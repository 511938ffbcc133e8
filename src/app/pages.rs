//! What a plain GET can be answered with: the demo pages, built into the binary, the server's health, its metrics.

/// A file that is served on GET.
#[derive(Debug)]
pub struct Page {
    /// Where.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub body: &'static [u8],
}

/// What is served on GET.
#[derive(Clone, Copy, Debug)]
pub enum Served {
    /// A file of the demo pages.
    Page(&'static Page),
    /// `/healthz`: whether it is up, and nothing else. For load balancers and whoever restarts what is down.
    Health,
    /// `/metrics`: see [`exposition`](super::exposition).
    Metrics,
}

impl Served {
    /// Where it is served.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Page(page) => page.path,
            Self::Health => HEALTH,
            Self::Metrics => METRICS,
        }
    }

    /// Whether it is for everyone; what isn't is for the allow list.
    pub const fn is_public(self) -> bool {
        matches!(self, Self::Health)
    }

    /// Whether it is the live page's own.
    pub fn is_admin(self) -> bool {
        matches!(self, Self::Page(page) if page.path.starts_with("/admin"))
    }
}

const HEALTH: &str = "/healthz";
const METRICS: &str = "/metrics";

/// Header fields of what is made at the moment it is asked for.
pub const LIVE_FIELDS: &[&str] = &["Cache-Control: no-store", "X-Content-Type-Options: nosniff"];

/// Header fields of every page: it loads nothing from elsewhere and runs nothing that isn't its own. It may connect
/// anywhere, since the backend script that it calls is the developer's.
pub const FIELDS: &[&str] = &[
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cache-Control: no-cache",
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const PAGES: &[Page] = &[
    // A demo for each application.
    Page { path: "/", content_type: HTML, body: include_bytes!("../../clients/web/index.html") },
    Page { path: "/demo.css", content_type: CSS, body: include_bytes!("../../clients/web/demo.css") },
    Page { path: "/demo.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/demo.js") },
    Page {
        path: "/notifications.html",
        content_type: HTML,
        body: include_bytes!("../../clients/web/notifications.html"),
    },
    Page { path: "/notifications.css", content_type: CSS, body: include_bytes!("../../clients/web/notifications.css") },
    Page {
        path: "/notifications.js",
        content_type: JAVASCRIPT,
        body: include_bytes!("../../clients/web/notifications.js"),
    },
    Page { path: "/chat.html", content_type: HTML, body: include_bytes!("../../clients/web/chat.html") },
    Page { path: "/chat.css", content_type: CSS, body: include_bytes!("../../clients/web/chat.css") },
    Page { path: "/chat.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/chat.js") },
    Page { path: "/commands.html", content_type: HTML, body: include_bytes!("../../clients/web/commands.html") },
    Page { path: "/commands.css", content_type: CSS, body: include_bytes!("../../clients/web/commands.css") },
    Page { path: "/commands.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/commands.js") },
    // The live page; its feed is an application.
    Page { path: "/admin", content_type: HTML, body: include_bytes!("../../clients/web/admin.html") },
    Page { path: "/admin.css", content_type: CSS, body: include_bytes!("../../clients/web/admin.css") },
    Page { path: "/admin.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/admin.js") },
    Page {
        path: "/admin-plots.js",
        content_type: JAVASCRIPT,
        body: include_bytes!("../../clients/web/admin-plots.js"),
    },
    // That of form locks.
    Page { path: "/forms.html", content_type: HTML, body: include_bytes!("../../clients/web/forms.html") },
    Page { path: "/forms.css", content_type: CSS, body: include_bytes!("../../clients/web/forms.css") },
    Page { path: "/forms.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/forms.js") },
    Page { path: "/wamp.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/wamp.js") },
    // What all of them are made of.
    Page { path: "/page.css", content_type: CSS, body: include_bytes!("../../clients/web/page.css") },
    Page { path: "/page.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/web/page.js") },
    Page { path: "/icon.svg", content_type: "image/svg+xml", body: include_bytes!("../../clients/web/icon.svg") },
    // The client, for any page that loads it from here.
    Page { path: "/websock.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/js/websock.js") },
    Page { path: "/webntf.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/js/webntf.js") },
    Page { path: "/connection.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/js/connection.js") },
    Page { path: "/events.js", content_type: JAVASCRIPT, body: include_bytes!("../../clients/js/events.js") },
];

/// What is at `path`.
pub fn find(path: &str) -> Option<Served> {
    match path {
        HEALTH => Some(Served::Health),
        METRICS => Some(Served::Metrics),
        _ => PAGES.iter().find(|page| page.path == path).map(Served::Page),
    }
}
