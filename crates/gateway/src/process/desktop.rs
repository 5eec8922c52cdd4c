//! A home in the process of a desktop window: the one router, asked without a socket.
//!
//! The window asks for pages before there is a home, and for everything else once there is one. The home is opened by
//! the first request that needs it; one that could not be opened is tried again by the next, so that "try again" in the
//! interface is all that anybody needs.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, middleware};
use hearthkey_api::code;
use hearthkey_store::slots::SLOTS_FILE;
use tokio::sync::Mutex;
use tower::ServiceExt;
use zeroize::Zeroizing;

use crate::auth::caller::Caller;
use crate::http::middleware::guard::dress;
use crate::http::pages;
use crate::http::router::router;
use crate::process::init::{InitError, InitSlot, Initialized, init};
use crate::process::run::{RunConfig, RunError, RunEvent, Running};
use crate::state::failure::{Failure, sentence};

/// The largest answer that the window is given. The largest that is made, an export of the log, is cut into pages.
const ANSWER_MAX_BYTES: usize = 64 << 20;

/// A home that a desktop window has in its process, or will have.
pub struct Desktop {
    config: RunConfig,
    on_event: Arc<dyn Fn(RunEvent) + Send + Sync>,
    home: Mutex<Option<Open>>,
}

struct Open {
    running: Running,
    router: Router,
}

impl Desktop {
    /// A window's home. Nothing is opened before it is asked for.
    pub fn new(config: RunConfig, on_event: impl Fn(RunEvent) + Send + Sync + 'static) -> Self {
        Self {
            config,
            on_event: Arc::new(on_event),
            home: Mutex::default(),
        }
    }

    /// Answers the window: a page of the interface, or the home's response to the person at the window.
    pub async fn answer(&self, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        let mut request = request.map(|body| Body::from(Bytes::from(body)));
        // A custom scheme takes bodies as they are, and keeps nothing.
        request.headers_mut().remove(header::ACCEPT_ENCODING);
        request.headers_mut().remove(header::IF_NONE_MATCH);
        let mut response = if asks_the_home(request.uri().path()) {
            match self.router().await {
                Ok(router) => {
                    request.extensions_mut().insert(Caller::Desktop);
                    let Ok(response) = router.oneshot(request).await;
                    response
                }
                Err(failure) => failure.into_response(),
            }
        } else {
            pages::serve(request).await
        };
        dress(response.headers_mut());
        let (parts, body) = response.into_parts();
        match to_bytes(body, ANSWER_MAX_BYTES).await {
            Ok(body) => Response::from_parts(parts, body.into()),
            Err(error) => too_large(&error),
        }
    }

    /// Makes the home, where there is none. It opens with a passphrase, or with a key file.
    pub async fn create(
        &self,
        name: &str,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Initialized, InitError> {
        let slot = passphrase.map_or(InitSlot::KeyFile, InitSlot::Passphrase);
        init(&self.config.data_dir, name, slot).await
    }

    /// Closes the home, if it is open.
    pub async fn close(&self) {
        if let Some(open) = self.home.lock().await.take() {
            open.running.stop().await;
        }
    }

    /// The home's router; the home is opened for it.
    async fn router(&self) -> Result<Router, Failure> {
        let mut home = self.home.lock().await;
        if let Some(open) = home.as_ref() {
            return Ok(open.router.clone());
        }
        if !self.config.data_dir.join(SLOTS_FILE).exists() {
            return Err(no_home(&self.config.data_dir));
        }
        let on_event = Arc::clone(&self.on_event);
        let running = Running::start(self.config.clone(), move |event| on_event(event))
            .await
            .map_err(|error| unopened(&error))?;
        let router = router(running.gateway()).layer(middleware::from_fn(
            crate::http::middleware::run_to_end::to_the_end,
        ));
        *home = Some(Open {
            running,
            router: router.clone(),
        });
        Ok(router)
    }
}

fn asks_the_home(path: &str) -> bool {
    ["/api/", "/.well-known/"]
        .iter()
        .any(|start| path.starts_with(start))
}

/// An answer that is never made; the window says that it was garbled.
fn too_large(error: &axum::Error) -> Response<Vec<u8>> {
    tracing::error!(%error, "an answer was too large for the window");
    let mut response = Response::default();
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn no_home(data_dir: &std::path::Path) -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        code::NO_HOME,
        "There is no home on this computer yet.",
        format!("{} contains none.", data_dir.display()),
        "Create one. On the command line: start the window with `--data-dir` to open another directory.",
    )
}

fn unopened(error: &RunError) -> Failure {
    let text = error.to_string();
    let (detail, remedy) = text
        .rsplit_once(". ")
        .unwrap_or((&text, "Read the messages of the program on standard error"));
    let code = match error {
        RunError::Running(_) => code::HOME_IN_USE,
        _ => code::UNOPENED_HOME,
    };
    Failure::new(
        StatusCode::CONFLICT,
        code,
        "The home cannot be unlocked.",
        sentence(&detail),
        sentence(&remedy),
    )
}
