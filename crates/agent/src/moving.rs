//! The gateway has another name, address or port, and an enrolled device is told so.

use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::claim_code::is_host;
use crate::clock;
use crate::closed::{ClosedReason, Need};
use crate::device::{Device, DeviceConnectError, Status, connect_remedy};
use crate::directory::DirectoryError;
use crate::explain::{Explain, Explanation};
use crate::once::CLIENT_ID;
use crate::session::{ConnectError, Session};

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// DNS name or IP address, without brackets.
    pub host: String,
    /// MQTT port.
    pub port: u16,
}

/// A text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a DNS name or an IP address and a port, like hub.local:8883 or [fd00::1]:8883")]
pub struct PlaceError;

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (host, port) = text.rsplit_once(':').ok_or(PlaceError)?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(v6) if v6.parse::<Ipv6Addr>().is_ok() => v6,
            None if !host.contains(':') && is_host(host) => host,
            _ => return Err(PlaceError),
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or(PlaceError)?,
        })
    }
}

/// Why a device keeps looking for its gateway where it did before.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The gateway there could not be reached, or one side did not accept the other.
    #[error("at {}, port {}: {cause}", place.host, place.port)]
    Connect {
        /// Where it was tried.
        place: Place,
        /// What was found there.
        cause: DeviceConnectError,
        /// What to do.
        remedy: String,
    },
}

impl MoveError {
    /// Whether a later try may succeed without anybody's help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Connect {
                cause: DeviceConnectError::Connect(ConnectError { reason }),
                ..
            } => {
                let is_another = matches!(reason, ClosedReason::NotTrusted { .. });
                reason.need() == Need::Time && !is_another
            }
            _ => false,
        }
    }
}

impl Explain for MoveError {
    fn explain(&self) -> Explanation {
        match self {
            Self::Directory(error) => error.explain(),
            Self::Connect { remedy, .. } => Explanation::new(
                "The device was not moved; it looks for its gateway where it did before",
                self.to_string(),
                remedy.clone(),
            ),
        }
    }
}

impl Device {
    /// Tells the device that its gateway is at another place. It connects there first, beside whatever holds the device's
    /// session, and the place is written down only if the gateway proved there that it is this home's.
    pub async fn move_to(mut self, place: Place) -> Result<Status, MoveError> {
        match self.prove(&place).await {
            Ok(session) => drop(session.close().await),
            Err(cause) => {
                let remedy = self.remedy(&cause);
                return Err(MoveError::Connect {
                    place,
                    cause,
                    remedy,
                });
            }
        }
        self.settle(&place)?;
        Ok(self.status()?)
    }

    /// Where the device looks for its gateway.
    pub(crate) fn place(&self) -> Place {
        Place {
            host: self.state.host.clone(),
            port: self.state.port,
        }
    }

    /// Writes down where the gateway has proved to be.
    pub(crate) fn settle(&mut self, place: &Place) -> Result<(), DirectoryError> {
        self.state.host.clone_from(&place.host);
        self.state.port = place.port;
        self.directory.write_state(&self.state)
    }

    /// Connects to a place, beside whatever holds the device's session: only this home's gateway lets it.
    pub(crate) async fn prove(&self, place: &Place) -> Result<Session, DeviceConnectError> {
        let at = (place.host.as_str(), place.port);
        match (
            self.connect_to(at, self.slots.current(), CLIENT_ID).await,
            self.slots.next(),
        ) {
            // The next pair may be the one in use, if the agent was interrupted after its first connection.
            (Err(DeviceConnectError::Connect(refused)), Some(next))
                if refused.reason.is_about_identity() =>
            {
                self.connect_to(at, next, CLIENT_ID).await
            }
            (tried, _) => tried,
        }
    }

    fn remedy(&self, cause: &DeviceConnectError) -> String {
        let Place { host, port } = self.place();
        match cause {
            DeviceConnectError::Connect(ConnectError { reason }) => match reason {
                ClosedReason::NotTrusted { .. } if !reason.is_about_dates() => format!(
                    "Check that this is your own gateway. If it is, its certificate has to name this host: start it with \
                     `hearthkey run --host HOST` there. The device still looks at {host}, port {port}"
                ),
                reason => self
                    .what_to_do(reason, clock::now())
                    .unwrap_or_else(|| connect_remedy(reason).to_owned()),
            },
            other => other.explain().remedy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_host_and_a_port() {
        let place = |text: &str| text.parse::<Place>().map(|place| (place.host, place.port));
        assert_eq!(place("hub.local:8883"), Ok(("hub.local".to_owned(), 8883)));
        assert_eq!(place("192.0.2.7:1"), Ok(("192.0.2.7".to_owned(), 1)));
        assert_eq!(place("[fd00::1]:8883"), Ok(("fd00::1".to_owned(), 8883)));
        for wrong in [
            "hub.local",
            "hub.local:0",
            "hub.local:65536",
            ":8883",
            "fd00::1:8883",
            "[hub.local]:8883",
            "[fd00::1:8883",
            "a b:8883",
            "mqtts://hub.local:8883",
        ] {
            assert_eq!(place(wrong), Err(PlaceError), "{wrong}");
        }
    }
}
