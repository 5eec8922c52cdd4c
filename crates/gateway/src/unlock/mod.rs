//! Unlock methods: how an open home is unlocked the next time, listed and changed.
//!
//! A change is prepared, and what it adds is tried; then it is put on record, with the code that was shown for it; then it is
//! kept. A change that is on record and could not be kept gets a second record that says so. A recovery code is answered when
//! it is on the disk, and the one before opens the home until somebody shows to have the new one: a power cut at any moment
//! leaves no code on paper that was good and opens nothing.

use std::sync::Arc;

use hearthkey_api::{self as api, SecondFactor};
use hearthkey_core::audit::{Entry, Outcome};
use hearthkey_core::role::Act;
use hearthkey_core::unlock::{Consequence, passphrase_name};
use hearthkey_store::slots::SlotKind;
use hearthkey_store::slots::methods::MethodError;
use hearthkey_store::slots::unlocking::{KeepError, Order, PrepareError, Prepared};
use zeroize::Zeroizing;

use crate::auth::Auth;
use crate::auth::caller::Caller;
use crate::auth::local_code::Needed;
use crate::state::Ctx;
use crate::state::failure::Failure;

/// What a key file does not protect from.
pub(crate) const KEY_FILE_WARNING: &str = "This home opens with a key file beside its data: anyone who can read the disk or the card \
     can open everything. Use a passphrase where that matters.";

/// How a home is unlocked.
pub(crate) struct Unlock {
    ctx: Arc<Ctx>,
    auth: Arc<Auth>,
    /// One changes it at a time.
    turn: tokio::sync::Mutex<()>,
}

/// The kind of a method, as the API has it.
pub(crate) fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::KeyFile => "key-file",
        SlotKind::Passphrase => "passphrase",
        SlotKind::RecoveryCode => "recovery-code",
    }
}

/// A change, and what is on record of it.
struct Change {
    order: Order,
    action: &'static str,
    /// Whether its consequences, if it has any, are accepted.
    accept: bool,
    /// Whether a second factor is needed where people are asked for one.
    needs_code: bool,
}

impl Change {
    fn new(action: &'static str, order: Order) -> Self {
        Self {
            order,
            action,
            accept: true,
            needs_code: true,
        }
    }
}

impl Unlock {
    pub(crate) fn new(ctx: Arc<Ctx>, auth: Arc<Auth>) -> Self {
        Self {
            ctx,
            auth,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The methods, as they are on the disk now.
    pub(crate) fn methods(&self) -> Result<api::UnlockMethodList, Failure> {
        let methods = self.ctx.store().unlock_methods();
        let methods = methods.map_err(|error| unreadable(&error))?;
        let views = methods.into_iter().map(|method| api::UnlockMethodView {
            name: method.name,
            kind: kind_name(method.kind).to_owned(),
            added_at: method.added_at.map(|at| at.to_string()),
            opens: method.opens,
            unconfirmed: method.unconfirmed,
        });
        Ok(api::UnlockMethodList {
            methods: views.collect(),
            warning: None,
        })
    }

    /// Adds a passphrase, or replaces the one of its name.
    pub(crate) async fn add_passphrase(
        &self,
        caller: &Caller,
        request: api::PassphraseMethodRequest,
    ) -> Result<api::UnlockMethodList, Failure> {
        let words = Zeroizing::new(request.passphrase);
        let name = passphrase_name(&request.name).map_err(|error| Failure::invalid(&error))?;
        let action = match request.replace {
            true => "unlock.replace",
            false => "unlock.add",
        };
        let order = Order::Passphrase {
            name,
            words,
            replace: request.replace,
        };
        let change = Change::new(action, order);
        self.change(caller, change, request.second_factor).await?;
        self.methods()
    }

    /// Makes a key file.
    pub(crate) async fn add_key_file(
        &self,
        caller: &Caller,
        second_factor: Option<SecondFactor>,
    ) -> Result<api::UnlockMethodList, Failure> {
        let change = Change::new("unlock.add", Order::KeyFile);
        self.change(caller, change, second_factor).await?;
        Ok(api::UnlockMethodList {
            warning: Some(KEY_FILE_WARNING.to_owned()),
            ..self.methods()?
        })
    }

    /// Issues a recovery code. It is on the disk when this answers, and in the answer alone.
    pub(crate) async fn issue_recovery_code(
        &self,
        caller: &Caller,
        second_factor: Option<SecondFactor>,
    ) -> Result<Zeroizing<String>, Failure> {
        let change = Change::new("unlock.issue", Order::RecoveryCode);
        let kept = self.change(caller, change, second_factor).await?;
        kept.code
            .ok_or_else(|| Failure::internal(&"no code was made"))
    }

    /// Ends the recovery code before the newest: somebody shows to have that one. It is asked for no other code, for it opens the
    /// home by itself.
    pub(crate) async fn confirm_recovery_code(
        &self,
        caller: &Caller,
        code: Zeroizing<String>,
    ) -> Result<api::UnlockMethodList, Failure> {
        let change = Change {
            needs_code: false,
            ..Change::new("unlock.confirm", Order::Confirm(code))
        };
        self.change(caller, change, None).await?;
        self.methods()
    }

    /// Removes a method. What follows has to be accepted.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        name: &str,
        request: api::UnlockMethodRemoval,
    ) -> Result<api::UnlockMethodList, Failure> {
        let change = Change {
            accept: request.accept,
            ..Change::new("unlock.remove", Order::Remove(name.to_owned()))
        };
        self.change(caller, change, request.second_factor).await?;
        self.methods()
    }

    /// Prepares a change, puts it on record and keeps it.
    async fn change(
        &self,
        caller: &Caller,
        change: Change,
        second_factor: Option<SecondFactor>,
    ) -> Result<Prepared, Failure> {
        let permit = caller.permitted(Act::UnlockChange)?;
        let actor = permit.actor_at_home(Act::UnlockChange)?.clone();
        let _turn = self.turn.lock().await;
        let (now, store) = (self.ctx.now(), self.ctx.store());
        let needed = Needed {
            act: Act::UnlockChange,
            environment: None,
            why: "this changes how the home is unlocked",
        };
        let shown = match change.needs_code {
            true => self.auth.shown_here(caller, needed, second_factor).await?,
            false => None,
        };
        let prepared = tokio::task::block_in_place(|| store.prepare_unlock(change.order, now));
        let prepared = prepared.map_err(not_prepared)?;
        if !change.accept && !prepared.consequences.is_empty() {
            return Err(not_accepted(&prepared.consequences));
        }
        let (name, kind) = &prepared.method;
        let entry = |action: &'static str| {
            Entry::new(
                now,
                actor.clone(),
                action,
                format!("home:{}", self.ctx.id()),
            )
            .with("method", name.as_str())
            .with("kind", kind_name(*kind))
        };
        let record = hearthkey_store::change::Change::record(entry(change.action));
        self.auth.commit_shown(record, shown).await?;
        if let Err(error) = tokio::task::block_in_place(|| store.keep_unlock(&prepared)) {
            let failed = entry("unlock.fail").ended(Outcome::Refused, "not_written");
            self.ctx.record(failed.with("act", change.action)).await;
            return Err(not_kept(&error));
        }
        Ok(prepared)
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Failure {
    Failure::refused(
        &format!("the unlock methods cannot be read: {error}"),
        "Put slots.json back from a copy of the data directory, and do not stop the gateway before.",
    )
}

fn not_accepted(consequences: &[Consequence]) -> Failure {
    let sentences: Vec<&str> = consequences.iter().map(|one| one.sentence()).collect();
    let mut failure = Failure::refused(
        &"it has consequences",
        "Accept that, or add another unlock method first. On the command line: `--yes`.",
    );
    failure.0.detail = sentences.join(" ");
    failure
}

fn not_prepared(error: PrepareError) -> Failure {
    match error {
        PrepareError::Method(MethodError::Unknown(name)) => {
            Failure::not_found("unlock method", &name)
        }
        PrepareError::Method(MethodError::Slot(error)) => Failure::invalid(&error),
        PrepareError::Method(error) => {
            let remedy = match error {
                MethodError::Taken(_) => {
                    "Choose another name, or replace that one. On the command line: `--replace`."
                }
                MethodError::KeyFileThere => "Nothing has to be done.",
                MethodError::TooMany => "Remove one, or replace one.",
                MethodError::NotTheNewCode => {
                    "Type the code that was shown last, or issue another one. On the command line: `hearthkey unlock recovery-code`."
                }
                _ => "Report it: this should not happen.",
            };
            Failure::refused(&error, remedy)
        }
        PrepareError::Last(error) => Failure::refused(
            &error,
            "Add another unlock method first. On the command line: `hearthkey unlock add-passphrase`.",
        ),
        PrepareError::Io(error) => unreadable(&error),
    }
}

fn not_kept(error: &KeepError) -> Failure {
    let remedy = match error {
        KeepError::Overtaken => "Look at the unlock methods, and try again.",
        KeepError::Io(_) => {
            "Free space or repair the disk, then look at the unlock methods and try again. On the command line: `hearthkey unlock list`."
        }
    };
    Failure::refused(error, remedy)
}
