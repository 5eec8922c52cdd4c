//! The interface: what `ui/dist` holds, in the program itself.
//!
//! Files under `assets/` have a hash of their content in their names and never change. Everything
//! else is asked for again each time, and answered 304 where it is the same. What the build has
//! compressed is served so. A program that was built without the interface says how to get it.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::state::failure::Failure;

#[derive(RustEmbed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct Built;

/// Scripts, styles and pictures come from here alone; nothing inline, no frame, no form, no base.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self' ipc: http://ipc.localhost; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
const PAGE: &str = "index.html";
const WITHOUT_INTERFACE: &str = "<!doctype html><html lang=\"en\"><title>Hearthkey</title>\
    <h1>Hearthkey runs, without its interface</h1>\
    <p>This program was built without it. Install Node 20 or newer, run \
    <code>npm ci &amp;&amp; npm run build</code> in <code>ui/</code>, and build the program again.</p>\
    <p>The command line can do everything: <code>hearthkey --help</code>.</p>";

/// What no route answers: a page of the interface, a file of it, or nothing.
pub(crate) async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads || path == "api" || path.starts_with("api/") {
        return Failure::not_found("path", &"like this").into_response();
    }
    if Built::get(PAGE).is_none() {
        let body = axum::response::Html(WITHOUT_INTERFACE);
        return (StatusCode::SERVICE_UNAVAILABLE, body).into_response();
    }
    // A path without an extension is a screen: the interface decides which.
    let is_screen = !path.rsplit('/').next().unwrap_or_default().contains('.');
    let name = if is_screen { PAGE } else { path };
    file(name, request.headers())
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    let Some((kind, plain)) = kind_of(name).zip(Built::get(name)) else {
        return Failure::not_found("path", &"like this").into_response();
    };
    let tag = format!(
        "\"{}\"",
        &hearthkey_core::id::hex(&plain.metadata.sha256_hash())[..32]
    );
    let is_hashed = name.starts_with("assets/");
    let cache = match is_hashed {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let (encoding, body) = smallest(name, headers, plain);
        let mut response = whole(body.data).into_response();
        if let Some(encoding) = encoding {
            let encoding = HeaderValue::from_static(encoding);
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, encoding);
        }
        response
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, cache),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::VARY, "accept-encoding"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = tag.parse() {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// What the program holds is sent from where it lies: however many do not take it, there is no second one.
fn whole(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(data) => Bytes::from_static(data),
        // Read from the disk, as a debug build does.
        Cow::Owned(data) => data.into(),
    }
}

/// What the browser takes, in its smallest form.
fn smallest(
    name: &str,
    headers: &HeaderMap,
    plain: EmbeddedFile,
) -> (Option<&'static str>, EmbeddedFile) {
    let taken = headers.get(header::ACCEPT_ENCODING);
    let taken = taken
        .and_then(|taken| taken.to_str().ok())
        .unwrap_or_default();
    for (encoding, end) in [("br", "br"), ("gzip", "gz")] {
        let takes = taken
            .split(',')
            .any(|one| one.split(';').next().unwrap_or_default().trim() == encoding);
        if takes && let Some(packed) = Built::get(&format!("{name}.{end}")) {
            return (Some(encoding), packed);
        }
    }
    (None, plain)
}

/// The media type of what the interface is made of; none of anything else.
fn kind_of(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => return None,
    })
}
