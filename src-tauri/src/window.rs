//! The window, and the scheme by which it asks the home.

use std::sync::Arc;

use hearthkey_gateway::Desktop;
use tauri::{AppHandle, RunEvent, Url, WebviewUrl, WebviewWindowBuilder, async_runtime};
use tokio::signal::unix::{SignalKind, signal};

use crate::{begin, save};

/// The scheme of the interface, and its one page.
const SCHEME: &str = "hearthkey";
const PAGE: &str = "hearthkey://localhost/";

/// Shows the window until it is closed, and closes the home after it.
pub fn show(desktop: Arc<Desktop>) -> tauri::Result<()> {
    let asked = Arc::clone(&desktop);
    let app = tauri::Builder::default()
        .manage(Arc::clone(&desktop))
        .invoke_handler(tauri::generate_handler![
            save::save_file,
            begin::create_home
        ])
        .register_asynchronous_uri_scheme_protocol(SCHEME, move |_, request, responder| {
            let desktop = Arc::clone(&asked);
            async_runtime::spawn(async move { responder.respond(desktop.answer(request).await) });
        })
        .setup(|app| {
            let page: Url = PAGE.parse()?;
            WebviewWindowBuilder::new(app, "main", WebviewUrl::CustomProtocol(page))
                .title("Hearthkey")
                .inner_size(1280.0, 860.0)
                .min_inner_size(360.0, 480.0)
                .on_navigation(is_ours)
                .build()?;
            async_runtime::spawn(end_when_told(app.handle().clone()));
            Ok(())
        })
        .build(tauri::generate_context!())?;
    app.run(move |_, event| {
        if matches!(event, RunEvent::Exit) {
            async_runtime::block_on(desktop.close());
        }
    });
    Ok(())
}

/// Nothing but the interface is ever shown in the window.
fn is_ours(url: &Url) -> bool {
    url.scheme() == SCHEME && url.host_str() == Some("localhost")
}

/// Ends the program in order when the system asks for it.
async fn end_when_told(app: AppHandle) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    app.exit(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_goes_nowhere_but_to_the_interface() {
        assert!(is_ours(
            &"hearthkey://localhost/devices/lamp".parse().unwrap()
        ));
        for elsewhere in [
            "https://localhost/",
            "hearthkey://example.org/",
            "file:///etc/passwd",
            "about:blank",
        ] {
            assert!(!is_ours(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }
}
