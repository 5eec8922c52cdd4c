//! What the broker reports, handed to the use cases.

use crate::devices::issuance::{is_held, send};
use crate::devices::waiting::Waiting;
use std::sync::Arc;
use std::time::Duration;

use hearthkey_broker::{
    ClaimAnswer, Event, Events, Refusal, Request, StateChange, StateChanges, StateKind, StateRow,
    Who,
};
use hearthkey_core::access::{Admission, DoorRefusal, RENEWAL_CLIENT_ID};
use hearthkey_core::audit::Entry;
use hearthkey_core::clock_witness::{MESSAGE_MAX_BYTES, Said};
use hearthkey_core::id::{ClaimId, DeviceId, Fingerprint};
use hearthkey_core::posture::shared_identity::Machine;
use hearthkey_core::refusal_tally::RefusalTally;
use hearthkey_store::change::{Change, Write};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::devices::enroll::Guest;
use crate::devices::present::REFUSED_AFTER;
use crate::devices::renew::Renewer;
use crate::home::Home;
use crate::mqtt::refused::{Refused, of_counted};
use crate::state::device_actor;

/// Events that are worked on at the same time. More wait in the broker's own queue.
const AT_ONCE: usize = 256;
/// How long the loop sleeps when nothing waits to be written down.
const REST: Duration = Duration::from_secs(3600);

/// When a batch that the storage did not take is tried again.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// Works on events until the broker has stopped and everything begun is done.
pub(crate) async fn work(home: Arc<Home>, mut events: Events) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut refusals = RefusalTally::default();
    loop {
        let due = refusals
            .due_in_s(home.ctx.now())
            .map_or(REST, Duration::from_secs);
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep(due) => {
                write_down(&home, of_minute(&home, &mut refusals));
                continue;
            }
        };
        let Some(event) = event else { break };
        if let Event::Refused { address, who, why } = event {
            home.devices.note_bound(who.as_ref(), &why);
            let mut entries = of_minute(&home, &mut refusals);
            if let (Some(Who::Certificate(certificate)), Some(from)) = (&who, address)
                && why == Refusal::Certificate(DoorRefusal::Waiting)
            {
                home.devices.came_unknown(certificate, from);
            }
            let refused = Refused { address, who, why };
            entries.extend(refused.entry(&home, &mut refusals));
            write_down(&home, entries);
            continue;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let home = Arc::clone(&home);
        tokio::spawn(async move {
            home.handle(event).await;
            drop(place);
        });
    }
    for counted in refusals.take() {
        home.ctx.record(of_counted(counted, home.ctx.now())).await;
    }
    // All places free again: nothing is left half done.
    let all = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

/// The records of the minute that is over.
fn of_minute(home: &Home, refusals: &mut RefusalTally) -> Vec<Entry> {
    let now = home.ctx.now();
    let counted = refusals.turn(now).into_iter();
    counted.map(|counted| of_counted(counted, now)).collect()
}

fn write_down(home: &Arc<Home>, entries: Vec<Entry>) {
    for entry in entries {
        let home = Arc::clone(home);
        tokio::spawn(async move { home.ctx.record(entry).await });
    }
}

impl Home {
    async fn handle(&self, event: Event) {
        match event {
            Event::ClaimPresented {
                claim,
                secret,
                address,
                answer,
            } => {
                let soonest = sleep(REFUSED_AFTER);
                let judged = self.devices.present(&claim, &secret, address).await;
                // In a task of its own, so that it takes no place from other events. There are no more of them than
                // claims' connections. An error means that the connection has gone.
                tokio::spawn(async move {
                    if judged == ClaimAnswer::Refused {
                        soonest.await;
                    }
                    let _ = answer.send(judged);
                });
            }
            Event::EnrollmentRequested { claim, request } => {
                self.answer_guest(claim, request).await;
            }
            Event::RenewalRequested {
                device,
                certificate,
                request,
                ..
            } => self.answer_device(&device, certificate, request).await,
            Event::TrustAcknowledged {
                device, request, ..
            } => {
                self.acknowledge(&device, &request).await;
            }
            Event::ClockSaid {
                device,
                admission,
                request,
            } => self.hear_clock(&device, admission, &request),
            Event::SessionOpened {
                device,
                certificate,
                client_id,
                address,
                ja4,
                connection,
                settled,
                ..
            } => {
                self.devices.has_come(&device);
                self.devices.seen(&device, address);
                // Who renews beside a product does not show that the product has the new certificate, and must not end its
                // connection.
                if client_id != RENEWAL_CLIENT_ID {
                    self.devices
                        .arrived(&device, certificate, address, connection)
                        .await;
                    let address = address.ip();
                    self.devices
                        .note_coming(&device, &client_id, Machine { address, ja4 })
                        .await;
                }
                if let Some(settled) = settled {
                    self.trust.publish_notice(&device).await;
                    // An error means that the session has stopped waiting.
                    let _ = settled.send(());
                }
            }
            Event::NoticeWanted { device } => self.trust.ensure_notice(&device),
            Event::MachinesMet { .. } => self.devices.note_meeting(event).await,
            Event::SessionClosed { .. } | Event::Refused { .. } => {}
        }
    }

    /// The device that a certificate names, if it was issued here.
    pub(super) fn named_by(&self, who: &Option<Who>) -> Option<DeviceId> {
        match who {
            Some(Who::Certificate(sha256)) => {
                Some(self.ctx.access().certificate(sha256)?.device.clone())
            }
            _ => None,
        }
    }

    async fn answer_guest(&self, claim: ClaimId, request: Request) {
        let Request {
            connection,
            address,
            payload,
            oversized,
            reply,
        } = request;
        let guest = Guest {
            claim: &claim,
            address,
            connection,
        };
        // Before it is decided on: the approval may come at any moment.
        let waiting = Waiting {
            payload: payload.clone(),
            address,
            connection,
            reply: reply.clone(),
        };
        self.devices.wait_for_approval(claim.clone(), waiting);
        let outcome = self.devices.enroll(&guest, &payload, oversized).await;
        if !is_held(&outcome) {
            self.devices.stop_waiting(&claim, connection);
        }
        send(&reply, outcome).await;
    }

    async fn answer_device(&self, device: &DeviceId, certificate: Fingerprint, request: Request) {
        let renewer = Renewer {
            device,
            certificate,
            address: request.address,
            connection: request.connection,
        };
        let outcome = self
            .devices
            .renew(&renewer, &request.payload, request.oversized)
            .await;
        send(&request.reply, outcome).await;
        if self
            .ctx
            .access()
            .admit(&certificate, self.ctx.now())
            .is_err()
        {
            self.ctx.broker().drop_device(device);
        }
    }

    /// Remembers what a device says of the time, as long as that counts. One that may only renew is not asked.
    fn hear_clock(&self, device: &DeviceId, admission: Admission, request: &Request) {
        let fits = !request.oversized && request.payload.len() <= MESSAGE_MAX_BYTES;
        if admission != Admission::Full || !fits {
            return;
        }
        if let Ok(said) = serde_json::from_slice::<Said>(&request.payload) {
            self.ctx.clock().hear(device, &said);
        }
    }

    async fn acknowledge(&self, device: &DeviceId, request: &Request) {
        let text = std::str::from_utf8(&request.payload).unwrap_or_default();
        let Ok(bundle) = text.trim().parse::<Fingerprint>() else {
            return;
        };
        let known = self
            .ctx
            .store()
            .read(|registry| registry.device(device))
            .ok()
            .flatten();
        if known.is_none_or(|known| known.trust_bundle == Some(bundle)) {
            return;
        }
        let actor = device_actor(device, request.address, request.connection);
        let entry = Entry::new(
            self.ctx.now(),
            actor,
            "trust.acknowledge",
            format!("device:{device}"),
        )
        .with("trust_bundle_sha256", bundle.to_string());
        let change = Change::record(entry).write(Write::TrustBundle(device.clone(), bundle));
        if let Err(error) = self.ctx.commit(change).await {
            tracing::warn!(%error, %device, "an acknowledgement could not be noted");
        }
    }
}

fn kind_name(kind: StateKind) -> &'static str {
    match kind {
        StateKind::Retained => "retained",
        StateKind::Session => "session",
        StateKind::Queue => "queue",
        StateKind::Inflight => "inflight",
        StateKind::Will => "will",
    }
}

/// The broker's rows as the store kept them.
pub(crate) fn broker_rows(stored: Vec<(String, String, Vec<u8>)>) -> Vec<StateRow> {
    const KINDS: [StateKind; 5] = [
        StateKind::Retained,
        StateKind::Session,
        StateKind::Queue,
        StateKind::Inflight,
        StateKind::Will,
    ];
    let row = |(name, key, value): (String, String, Vec<u8>)| {
        let kind = KINDS.into_iter().find(|kind| kind_name(*kind) == name)?;
        Some(StateRow { kind, key, value })
    };
    stored.into_iter().filter_map(row).collect()
}

/// Keeps what the broker wants to be remembered, until it has handed over everything. The broker
/// counts a batch as kept, so it is tried until it is; meanwhile the broker gathers the next one.
pub(crate) async fn remember(home: Arc<Home>, mut changes: StateChanges) {
    let mut stopping = home.ctx.stopping().subscribe();
    while let Some(batch) = changes.recv().await {
        while let Err(error) = home.ctx.commit(kept(&batch)).await {
            tracing::error!(%error, "sessions and retained messages could not be kept yet");
            // A home that closes tries once more and does not wait for its disk.
            if *stopping.borrow() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(KEEP_AGAIN) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
    }
}

fn kept(batch: &[StateChange]) -> Change {
    let writes = batch.iter().map(|change| {
        let (kind, key, value) = match change {
            StateChange::Put(StateRow { kind, key, value }) => (kind, key, Some(value)),
            StateChange::Delete { kind, key } => (kind, key, None),
        };
        Write::BrokerState {
            kind: kind_name(*kind).into(),
            key: key.clone(),
            value: value.cloned(),
        }
    });
    Change {
        writes: writes.collect(),
        ..Change::default()
    }
}
