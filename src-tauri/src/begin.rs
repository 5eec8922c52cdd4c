//! The first home: what no gateway can be asked for before there is one.

use std::sync::Arc;

use hearthkey_gateway::Desktop;
use serde::Serialize;
use tauri::State;
use zeroize::Zeroizing;

/// A new home.
#[derive(Serialize)]
pub struct Begun {
    /// Its id.
    home: String,
    /// What opens it when everything else is lost. Shown once.
    recovery_code: String,
    /// What the way it opens does not protect from.
    warning: Option<String>,
}

/// Makes the home that this window opens, where there is none. Without a passphrase it opens with a key file.
#[tauri::command]
pub async fn create_home(
    desktop: State<'_, Arc<Desktop>>,
    name: String,
    passphrase: Option<String>,
) -> Result<Begun, String> {
    let passphrase = passphrase.map(Zeroizing::new);
    let made = desktop.create(&name, passphrase).await;
    let made = made.map_err(|error| error.to_string())?;
    Ok(Begun {
        home: made.home,
        recovery_code: made.recovery_code.to_string(),
        warning: made.warning,
    })
}
