//! A client with a name, before it has a session.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use hearthkey_core::ja4::Ja4;
use hearthkey_core::posture::shared_identity::Machine;
use tokio_rustls::server::TlsStream;

use crate::edge::connection::Parts;
use crate::edge::farewell::{farewell, refusal};
use crate::edge::shared::Shared;
use crate::edge::socket::{Cut, SharedTcp};
use crate::event::{Refusal, Who};
use crate::limits::Limits;
use crate::protocol::{Connect, Decoder, Encoder, ReasonCode};

/// A client that has sent a complete CONNECT and waits for an answer.
pub(crate) struct Arrived {
    pub(crate) tls: TlsStream<SharedTcp>,
    pub(crate) cut: Arc<Cut>,
    pub(crate) address: SocketAddr,
    /// What kind of TLS client it is, if its ClientHello could be read.
    pub(crate) ja4: Option<Ja4>,
    pub(crate) connect: Box<Connect>,
    pub(crate) decoder: Decoder,
    /// What it has sent behind its CONNECT.
    pub(crate) input: BytesMut,
}

/// Why an arrival is turned away, and in which words.
pub(crate) struct Denied {
    pub(crate) code: ReasonCode,
    pub(crate) who: Option<Who>,
    pub(crate) why: Refusal,
}

impl Arrived {
    /// Where it comes from, as far as the network tells machines apart.
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            address: self.address.ip(),
            ja4: self.ja4,
        }
    }

    /// Takes it apart, for a session that reads packets of this length: what it asked for, without its password, and what its
    /// connection is made of. The box ends here: one that is moved out of in a task is kept until that ends.
    pub(crate) fn open(
        self: Box<Self>,
        packet_max_bytes: usize,
        limits: &Limits,
    ) -> (Connect, Parts) {
        let mut decoder = self.decoder;
        decoder.set_limits(packet_max_bytes, limits.topic_alias_max);
        let mut connect = *self.connect;
        connect.password = None;
        let parts = Parts {
            tls: self.tls,
            cut: self.cut,
            decoder,
            input: self.input,
        };
        (connect, parts)
    }

    /// Reports the refusal, tells the client, and closes.
    pub(crate) async fn refuse(self: Box<Self>, shared: &Shared, denied: Denied) {
        let Denied { code, who, why } = denied;
        let encoder = Encoder::for_client(&self.connect);
        let packet = refusal(&encoder, code, &why.to_string());
        shared.events.refused(self.address, who, why);
        farewell(self.tls, &packet).await;
    }
}
