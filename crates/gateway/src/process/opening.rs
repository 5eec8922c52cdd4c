//! Opening a home: from a root key to a running door.

use crate::state::write_down::keep_writing_down;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hearthkey_broker::{Broker, Config, Limits};
use hearthkey_core::id::{EnvironmentName, HomeId};
use hearthkey_core::rejection::{Code, Rejection};
use hearthkey_pki::CaRole;
use hearthkey_store::Store;
use hearthkey_store::change::Change;
use hearthkey_store::journal::Event;
use hearthkey_store::keys::RootKey;
use tokio::time::{sleep, timeout};

use crate::home::Home;
use crate::http::listener;
use crate::mqtt::events::{remember, work};
use crate::process::loading::{Door, HomeError, Loaded};
use crate::process::{outbox, schedule};
use crate::state::clock::Clock;
use crate::state::endings::PATIENCE;

/// Opens a home and starts all that runs in it.
pub(crate) async fn open(
    door: Door,
    root: RootKey,
    id: HomeId,
) -> Result<(Arc<Home>, Option<listener::Listener>), HomeError> {
    let address = door.mqtt;
    let listener =
        TcpListener::bind(address).map_err(|source| HomeError::Listen { address, source })?;
    let http = match door.http {
        Some(address) => Some(listen_http(address).await?),
        None => None,
    };
    let (home, late, running) = {
        let bound = http.as_ref().map(|(_, address)| *address);
        let store = Store::open(&door.data_dir, root, &id)?;
        let mut loaded = Loaded::of(&door, id, store, bound, Clock::start).await?;
        let time = Arc::clone(&loaded.clock);
        // Last: from here on devices come in, and nothing fails any more that would leave them in a home that is not open.
        let (broker, events, changes) = Broker::start(Config {
            listener,
            tls: loaded.tls.subscribe(),
            access: Arc::clone(&loaded.access),
            now: Arc::new(move || time.now()),
            limits: match door.connections_max {
                Some(most) => Limits::default().with_connections(most as usize),
                None => Limits::default(),
            },
            busy: Bytes::from(Rejection::from(Code::RateLimited).to_json()),
            restored: std::mem::take(&mut loaded.restored),
        })
        .await?;
        let (home, late) = loaded.into_home(broker);
        (home, late, (events, changes))
    };
    let endings = tokio::spawn(keep_writing_down(Arc::clone(&home.ctx)));
    home.ctx.endings().written_by(endings);
    home.devices.write_into_journal_again(late.unjournaled);
    write_what_was_given(&home, late.unjournaled_issues);
    home.devices.write_down_replayed(late.replayed).await;
    home.begin(running).await;
    let http = http.map(|(tcp, _)| {
        listener::Listener::new(tcp, home.trust.https_tls(), home.ctx.stopping().subscribe())
    });
    Ok((home, http))
}

/// Hands over to the journal what the home gave right before it was stopped the last time.
fn write_what_was_given(home: &Home, events: Vec<Event>) {
    if events.is_empty() {
        return;
    }
    let ctx = Arc::clone(&home.ctx);
    tokio::spawn(async move {
        let now = Some(ctx.now());
        if let Err(error) = ctx.store().journal_all(now, events).await {
            tracing::error!(%error, "the journal lacks what was issued before the home was stopped");
        }
    });
}

/// Listens for services. Nobody is answered before the home is open.
async fn listen_http(
    address: SocketAddr,
) -> Result<(tokio::net::TcpListener, SocketAddr), HomeError> {
    let failed = |source| HomeError::ListenHttp { address, source };
    let tcp = tokio::net::TcpListener::bind(address)
        .await
        .map_err(failed)?;
    let bound = tcp.local_addr().map_err(failed)?;
    Ok((tcp, bound))
}

impl Home {
    /// Starts what runs beside the requests.
    async fn begin(
        self: &Arc<Self>,
        (events, changes): (hearthkey_broker::Events, hearthkey_broker::StateChanges),
    ) {
        let tasks = [
            tokio::spawn(work(Arc::clone(self), events)),
            tokio::spawn(remember(Arc::clone(self), changes)),
        ];
        self.trust.publish_bundle().await;
        let environments: Vec<EnvironmentName> = {
            let issuers = self
                .ctx
                .issuers()
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            issuers.keys().cloned().collect()
        };
        let mut change = Change::default();
        let cas = environments.into_iter().map(CaRole::Issuing);
        for ca in cas.chain([CaRole::Server, CaRole::Root]) {
            change.writes.extend(self.trust.publish_crl(&ca).await);
        }
        // Devices are let in by now: nobody waits for a disk that hangs before they can be cut off.
        match timeout(PATIENCE, self.ctx.commit(change)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the CRL numbers could not be kept"),
            Err(_) => tracing::warn!("the disk hangs: the CRL numbers are not kept yet"),
        }
        self.vault.reseal_all();
        let more = [
            tokio::spawn(outbox::deliver(Arc::clone(self))),
            tokio::spawn(schedule::keep(Arc::clone(self))),
            tokio::spawn(schedule::keep_ending(Arc::clone(self))),
            tokio::spawn(schedule::keep_anchoring(Arc::clone(self))),
            tokio::spawn(crate::posture::judged::keep_judging(Arc::clone(
                &self.posture,
            ))),
            tokio::spawn(crate::audit::log_check::keep_verifying(Arc::clone(
                &self.audit,
            ))),
            tokio::spawn(crate::audit::shortening::keep_shortening(Arc::clone(
                &self.audit,
            ))),
            tokio::spawn(crate::backups::due::make_what_is_due(Arc::clone(
                &self.backups,
            ))),
            tokio::spawn(crate::backups::ship::keep_shipping(Arc::clone(
                &self.backups,
            ))),
            tokio::spawn(crate::vault::rotation::drive::rotate_what_is_due(
                Arc::clone(&self.vault),
            )),
            tokio::spawn(crate::vault::rotation::due::begin_what_is_due(Arc::clone(
                &self.vault,
            ))),
            tokio::spawn(crate::vault::leases::end_what_was_lent(Arc::clone(
                &self.vault,
            ))),
            tokio::spawn(crate::vault::rotation::notify::tell_the_places(Arc::clone(
                &self.vault,
            ))),
        ];
        crate::state::locked(self.ctx.tasks()).extend(tasks.into_iter().chain(more));
    }

    /// Ends every session, and lets nobody in any more.
    pub(crate) async fn close_doors(&self) {
        self.ctx.stopping().send_replace(true);
        self.ctx.broker().clone().stop().await;
    }

    /// Waits for requests that are being worked on, as long as an answer waits: each holds the home. What they have ended in
    /// memory is written down with the rest.
    async fn requests_end(self: &Arc<Self>) {
        let none_left = async {
            while Arc::strong_count(self) > 1 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(PATIENCE, none_left).await.is_err() {
            tracing::warn!("the home closes while requests are being worked on");
        }
    }

    /// Ends everything in order and closes the store: nothing that was acknowledged is lost.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.close_doors().await;
        let tasks = std::mem::take(&mut *crate::state::locked(self.ctx.tasks()));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the home ended badly");
            }
        }
        self.requests_end().await;
        self.ctx.endings().close().await;
        self.devices.note_sightings().await;
        self.auth.note_token_uses().await;
        self.note_time().await;
        tokio::task::block_in_place(|| self.ctx.store().close());
    }
}
