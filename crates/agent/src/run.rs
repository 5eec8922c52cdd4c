//! Staying connected: reconnect, renew in the window, follow the roots, watch the log. The decisions are in `plan` and
//! `schedule`; this file does what they say.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crate::checkpoint::{Progress, SeenCheckpoint};
use crate::clock;
use crate::closed::{ClosedReason, Need};
use crate::device::{BundleError, Device, DeviceConnectError, RenewError, connect_remedy};
use crate::directory::DirectoryError;
use crate::event::Event;
use crate::explain::{Explain, Explanation};
use crate::hook;
use crate::moment::Moment;
use crate::payload::{Notice, Rejection};
use crate::plan::RenewalPlan;
use crate::schedule::{AfterRefusal, after_refusal, longer, wait_for_person};
use crate::session::{ConnectError, ExchangeError, Message, Session};
use crate::witness::Witness;

/// Why a running agent gave up. Trouble that can pass never ends it.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gateway revoked this device.
    #[error("the certificate was revoked, or replaced by a newer one")]
    Revoked,
    /// The gateway refused a renewal for good.
    #[error("{} ({})", .0.message, .0.code)]
    Refused(Rejection),
    /// The device's files do not allow it to go on.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Key, certificate and roots do not make a TLS identity.
    #[error(transparent)]
    Connect(DeviceConnectError),
    /// A renewal met something that waiting does not mend.
    #[error(transparent)]
    Renew(RenewError),
}

impl Explain for RunError {
    fn explain(&self) -> Explanation {
        match self {
            Self::Revoked => Explanation::new(
                "The gateway refuses this device's certificate",
                self.to_string(),
                connect_remedy(&ClosedReason::Revoked),
            ),
            Self::Refused(rejection) => Explanation::new(
                "The gateway will not renew this device's certificate",
                self.to_string(),
                rejection.remedy.clone(),
            ),
            Self::Directory(error) => error.explain(),
            Self::Connect(error) => error.explain(),
            Self::Renew(error) => error.explain(),
        }
    }
}

type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// How a session ended.
enum Ended {
    Stopped,
    /// A new certificate waits to be used.
    Renewed,
    Closed(ClosedReason),
}

/// What follows from one message or one renewal.
enum Step {
    Stay,
    End(Ended),
}

/// One pass of the agent over its life.
struct Runner<'a> {
    device: Device,
    hook: Option<PathBuf>,
    plan: RenewalPlan,
    emit: &'a mut (dyn FnMut(Event) + Send),
    /// Renewals that failed in a row.
    failures: u32,
    /// Since when the memory on disk is behind; it is written at most once a minute, to spare cheap flash.
    unsaved_since: Option<Moment>,
    /// A trust bundle that the disk did not take, and since when.
    put_off: Option<(Message, Moment)>,
    /// Whether it was reported that the disk cannot be written.
    told_not_saved: bool,
}

/// A session that lived this long was a good one: the next pause starts small again.
const GOOD_SESSION_S: u64 = 30;
/// How long a renewed certificate has to take over before the device asks for another.
const UNTIL_PROMOTED_S: u64 = 600;
const SAVE_EVERY_S: u64 = 60;
/// The longest sleep between two looks at the clock, which may be set while we sleep.
const LOOK_EVERY_S: u64 = 60;

impl Device {
    /// Stays connected and renewed until `stop` resolves. `hook` is a program to run after each renewal; `emit` gets
    /// what happens. Returns an error only where trying again cannot help.
    pub async fn run(
        self,
        hook: Option<PathBuf>,
        stop: impl Future<Output = ()> + Send,
        mut emit: impl FnMut(Event) + Send,
    ) -> Result<(), RunError> {
        let mut stop = std::pin::pin!(stop);
        let plan = RenewalPlan::from_memory(&self.state, clock::now(), clock::chance());
        let mut runner = Runner {
            device: self,
            hook,
            plan,
            emit: &mut emit,
            failures: 0,
            unsaved_since: None,
            put_off: None,
            told_not_saved: false,
        };
        // Weeks may pass until it is needed.
        if let Some(event) = runner.hook.as_deref().and_then(hook::unfit) {
            (runner.emit)(event);
        }
        let outcome = runner.live(stop.as_mut()).await;
        let saved = runner.save();
        outcome?;
        saved?;
        (runner.emit)(Event::Stopped);
        Ok(())
    }
}

impl Runner<'_> {
    async fn live(&mut self, mut stop: Stop<'_>) -> Result<(), RunError> {
        let mut attempt = 0;
        let mut needed = Need::Time;
        loop {
            let serial = self.device.state.serial.clone();
            let connected = tokio::select! {
                () = &mut stop => return Ok(()),
                connected = self.device.connect_and_keep() => connected,
            };
            let reason = match connected {
                Ok((session, kept)) => {
                    let began = clock::now();
                    if let Err(error) = kept {
                        self.not_saved(&error);
                    }
                    self.begin(&serial, stop.as_mut()).await;
                    let ended = self.attend(session, stop.as_mut()).await?;
                    if began.seconds_until(clock::now()) >= GOOD_SESSION_S {
                        attempt = 0;
                    }
                    match ended {
                        Ended::Stopped => return Ok(()),
                        Ended::Renewed => continue,
                        Ended::Closed(reason) => reason,
                    }
                }
                Err(DeviceConnectError::Connect(ConnectError { reason })) => reason,
                Err(DeviceConnectError::Directory(error)) => return Err(error.into()),
                Err(error) => return Err(RunError::Connect(error)),
            };
            if reason == ClosedReason::Revoked {
                return Err(RunError::Revoked);
            }
            // Each kind of trouble has a row of tries of its own.
            if std::mem::replace(&mut needed, reason.need()) != needed {
                attempt = 0;
            }
            if !self.pause(reason, attempt, stop.as_mut()).await {
                return Ok(());
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Tells of a new session; if it is the first with a new certificate, runs the hook and plans the next renewal.
    async fn begin(&mut self, serial_before: &str, stop: Stop<'_>) {
        let state = &self.device.state;
        (self.emit)(Event::Connected {
            device: state.device.clone(),
            serial: state.serial.clone(),
            not_after: state.not_after,
        });
        if state.serial == serial_before {
            return;
        }
        self.plan = RenewalPlan::from_memory(state, clock::now(), clock::chance());
        if let Some(program) = &self.hook {
            let directory = self.device.directory.path();
            let hook = hook::run(program, directory, &state.device, state.not_after);
            // A stop ends the hook with the agent; `attend` sees the same stop next.
            tokio::select! {
                () = stop => {}
                event = hook => (self.emit)(event),
            }
        }
    }

    /// Lives through one session.
    async fn attend(
        &mut self,
        mut session: Session,
        mut stop: Stop<'_>,
    ) -> Result<Ended, RunError> {
        if let Some(reason) = self.listen(&session).await {
            return Ok(Ended::Closed(reason));
        }
        let mut witness = Witness::default();
        let ended = loop {
            self.save_when_due();
            witness.say_when_due(&session, &self.device).await;
            let wait_s = clock::now().seconds_until(self.plan.at()).min(LOOK_EVERY_S);
            let step = tokio::select! {
                () = &mut stop => break Ended::Stopped,
                message = session.receive() => match message {
                    Some(message) => self.take(&session, message).await?,
                    None => break Ended::Closed(session.closed().await),
                },
                () = tokio::time::sleep(Duration::from_secs(wait_s)) => Step::Stay,
            };
            if let Step::End(ended) = step {
                break ended;
            }
            if let Some(message) = self.due_again()
                && let Step::End(ended) = self.follow_roots(&session, message).await?
            {
                break ended;
            }
            if self.plan.at() <= clock::now()
                && let Step::End(ended) = self.renew(&session).await?
            {
                break ended;
            }
        };
        session.close().await;
        self.save_now();
        Ok(ended)
    }

    /// Subscribes to what a device follows: with a certificate in its grace, which may do nothing but renew, to its notice
    /// alone. A denied topic is reported, and the session continues without it.
    async fn listen(&mut self, session: &Session) -> Option<ClosedReason> {
        let notice = self.device.topic("notice");
        let is_in_grace = self.device.state.not_after < clock::now();
        let followed: &[&str] = match is_in_grace {
            true => &[&notice],
            false => &[&notice, BUNDLE, CHECKPOINT],
        };
        for topic in followed.iter().copied() {
            match session.subscribe(&[topic]).await {
                Ok(()) => {}
                Err(ExchangeError::Closed(reason)) => return Some(reason),
                Err(_) => (self.emit)(Event::SubscriptionDenied {
                    topic: topic.to_owned(),
                }),
            }
        }
        None
    }

    async fn take(&mut self, session: &Session, message: Message) -> Result<Step, RunError> {
        match message.topic.as_str() {
            BUNDLE => return self.follow_roots(session, message).await,
            CHECKPOINT => self.watch_log(&message),
            topic if topic == self.device.topic("notice") => self.heed_notice(&message),
            _ => {}
        }
        Ok(Step::Stay)
    }

    fn heed_notice(&mut self, message: &Message) {
        // An empty retained message is a notice taken back.
        if message.payload.is_empty() {
            return;
        }
        let window = match serde_json::from_slice::<Notice>(&message.payload) {
            Ok(notice) => notice.window,
            Err(error) => return self.unreadable(message, &error),
        };
        let answered = self.device.state.answered;
        let planned = self
            .plan
            .heed(window, answered, clock::now(), clock::chance());
        (self.emit)(Event::Notice {
            renew_after: window.renew_after,
            renew_before: window.renew_before,
            reason: window.reason,
            renewal_at: planned,
        });
    }

    async fn follow_roots(
        &mut self,
        session: &Session,
        message: Message,
    ) -> Result<Step, RunError> {
        // A newer one replaces it.
        self.put_off = None;
        let is_new = match self.device.take_bundle(&message.payload) {
            Ok(is_new) => is_new,
            Err(BundleError::Directory(error)) => {
                // It is not acknowledged before it is on the disk.
                self.put_off = Some((message, clock::now()));
                self.tell_not_saved(&error);
                return Ok(Step::Stay);
            }
            Err(BundleError::Trust(error)) => {
                let why = error.to_string();
                (self.emit)(Event::TrustRefused { why });
                return Ok(Step::Stay);
            }
        };
        let fingerprint = self.device.trust.fingerprint();
        if is_new {
            self.unsaved_since.get_or_insert_with(clock::now);
            self.save_now();
            (self.emit)(Event::TrustUpdated {
                trust_bundle_sha256: fingerprint,
            });
        }
        // Acknowledged every time: the gateway may have missed the last one.
        let topic = self.device.topic("trust/ack");
        Ok(
            match session.publish(&topic, fingerprint.to_string()).await {
                Ok(()) => Step::Stay,
                Err(ExchangeError::Closed(reason)) => Step::End(Ended::Closed(reason)),
                Err(error) => {
                    self.unreadable(&message, &error);
                    Step::Stay
                }
            },
        )
    }

    fn watch_log(&mut self, message: &Message) {
        let new = match SeenCheckpoint::from_note(&message.payload) {
            Ok(new) => new,
            Err(error) => return self.unreadable(message, &error),
        };
        let remembered = &mut self.device.state.checkpoint;
        match SeenCheckpoint::progress(remembered.as_ref(), &new) {
            Progress::Same => {}
            Progress::Advanced => {
                *remembered = Some(new);
                self.unsaved_since.get_or_insert_with(clock::now);
            }
            Progress::WentBackwards(setback) => (self.emit)(Event::CheckpointWentBackwards {
                setback,
                seen_size: remembered.as_ref().map_or(0, |seen| seen.size),
                new_size: new.size,
            }),
        }
    }

    fn unreadable(&mut self, message: &Message, why: &dyn std::error::Error) {
        (self.emit)(Event::Unreadable {
            topic: message.topic.clone(),
            why: why.to_string(),
        });
    }

    async fn renew(&mut self, session: &Session) -> Result<Step, RunError> {
        let renewed = self.device.renew(session).await;
        let now = clock::now();
        match renewed {
            Ok(renewal) => {
                self.failures = 0;
                self.device.answered(self.plan.window());
                self.unsaved_since.get_or_insert_with(clock::now);
                self.save_now();
                // The first connection with the new certificate makes a new plan. Should the gateway turn that
                // certificate away, this keeps the device from asking for one after another.
                self.plan.postpone(now, UNTIL_PROMOTED_S, clock::chance());
                (self.emit)(Event::Renewed {
                    serial: renewal.serial,
                    not_after: renewal.not_after,
                });
                Ok(Step::End(Ended::Renewed))
            }
            Err(RenewError::Rejected(rejection)) => match after_refusal(&rejection) {
                AfterRefusal::Stop => Err(RunError::Refused(rejection)),
                AfterRefusal::Wait(wait_s) => {
                    let wait_s = match rejection.code.as_str() {
                        "approval_required" => wait_for_person(wait_s),
                        _ if rejection.retry_after_s.is_none() => self.longer(wait_s),
                        _ => wait_s,
                    };
                    let retry_at = self.plan.postpone(now, wait_s, clock::chance());
                    let ended = self.device.state.not_after;
                    (self.emit)(Event::RenewalRefused {
                        rejection: rejection.beside_this_clock(ended, now),
                        retry_at,
                    });
                    Ok(Step::Stay)
                }
            },
            Err(RenewError::Exchange(ExchangeError::Closed(reason))) => {
                Ok(Step::End(Ended::Closed(reason)))
            }
            // The certificate is good all the same, and a disk may have room again.
            Err(error @ (RenewError::Directory(_) | RenewError::Key(_)))
                if !error.is_about_the_disk() =>
            {
                Err(RunError::Renew(error))
            }
            Err(error) => {
                const AFTER_FAILURE_S: u64 = 60;
                let wait_s = self.longer(AFTER_FAILURE_S);
                let retry_at = self.plan.postpone(now, wait_s, clock::chance());
                let why = error.to_string();
                (self.emit)(Event::RenewalFailed { why, retry_at });
                Ok(Step::Stay)
            }
        }
    }

    /// The wait after one more failure in a row.
    fn longer(&mut self, wait_s: u64) -> u64 {
        let before = self.failures;
        self.failures = before.saturating_add(1);
        longer(wait_s, before)
    }

    /// The bundle that the disk did not take, if it is time to try again.
    fn due_again(&mut self) -> Option<Message> {
        let due = |since: &Moment| since.seconds_until(clock::now()) >= SAVE_EVERY_S;
        let put_off = self.put_off.take_if(|(_, since)| due(since));
        put_off.map(|(message, _)| message)
    }

    fn save_when_due(&mut self) {
        match self.unsaved_since {
            Some(since) if since.seconds_until(clock::now()) >= SAVE_EVERY_S => self.save_now(),
            _ => {}
        }
    }

    /// Writes the memory down. A disk that does not take it ends no session: it is reported once, and retried.
    fn save_now(&mut self) {
        match self.save() {
            Ok(()) => self.told_not_saved = self.put_off.is_some(),
            Err(error) => self.not_saved(&error),
        }
    }

    fn save(&mut self) -> Result<(), DirectoryError> {
        if self.unsaved_since.is_some() {
            self.device.save()?;
            self.unsaved_since = None;
        }
        Ok(())
    }

    fn not_saved(&mut self, error: &DirectoryError) {
        self.unsaved_since = Some(clock::now());
        self.tell_not_saved(error);
    }

    fn tell_not_saved(&mut self, error: &DirectoryError) {
        if !std::mem::replace(&mut self.told_not_saved, true) {
            let why = error.to_string();
            (self.emit)(Event::NotSaved { why });
        }
    }
}

const BUNDLE: &str = "hearthkey/v1/trust/bundle";
const CHECKPOINT: &str = "hearthkey/v1/trust/checkpoint";

mod pause;
#[cfg(test)]
mod tests;
