//! Home Assistant's `secrets.yaml`. Everything in it is there to be kept secret, except what plainly is not.

use super::ReadError;
use super::settings::{Collected, Named};
use super::yaml;

pub(super) fn read(text: &str, collected: &mut Collected) -> Result<(), ReadError> {
    for scalar in yaml::scalars(text, collected)? {
        let name = scalar.name();
        match yaml::elsewhere(&scalar) {
            Some(why) => collected.leave(&name, scalar.line, why)?,
            None => {
                let named = Named {
                    what: &name,
                    bridge: "home-assistant",
                    key: &name,
                    line: scalar.line,
                };
                collected.consider(named, &scalar.text, Some("other"))?;
            }
        }
    }
    Ok(())
}
