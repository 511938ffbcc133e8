//! The demo page, built into the binary.

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

/// Header fields of every page: it loads nothing from elsewhere and runs nothing that isn't its own. It may connect
/// anywhere, since the backend script that it calls is the developer's.
pub const FIELDS: &[&str] = &[
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src *; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Cache-Control: no-cache",
];

const PAGES: &[Page] = &[
    Page { path: "/", content_type: "text/html; charset=utf-8", body: include_bytes!("../../clients/web/index.html") },
    Page {
        path: "/demo.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("../../clients/web/demo.css"),
    },
    Page {
        path: "/demo.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../../clients/web/demo.js"),
    },
    Page {
        path: "/websock.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("../../clients/js/websock.js"),
    },
    Page { path: "/icon.svg", content_type: "image/svg+xml", body: include_bytes!("../../clients/web/icon.svg") },
];

/// The page at `path`.
pub fn find(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}
