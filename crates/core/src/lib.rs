//! Hearthkey's rules: ids, facts, policies and decisions.
//!
//! What is absent here is the point: no I/O, no clock, no randomness, no SQL, no HTTP, no TLS.
//! The time and every random number enter as arguments, so that each rule can be read and
//! tested as a function from facts to a decision.
//!
//! | question | module |
//! | --- | --- |
//! | what are things called? | [`id`], [`time`], [`topic`] |
//! | how much may a device take, and what is reported at the bound? | [`room`], [`bound`] |
//! | what may a kind of device do, what of it does one need, and which names would take another's topics? | [`profile`], [`right`], [`tree`] |
//! | who may come in, and as whom? | [`access`], [`door`]; with what kind of program: [`ja4`] |
//! | may this device have a certificate? | [`claim`], [`enrollment`], [`renewal`] |
//! | what becomes of a device and its certificates? | [`device`], [`certificate`], [`bulk`] |
//! | when is a CA followed by a new one? | [`authority`] |
//! | what is written down about it? | [`audit`]; of refusals, [`refusal_tally`] |
//! | what is known of a secret, what is its value, and who changes what guards it? | [`credential`], [`secret`], [`guarded`] |
//! | how is it replaced, lent, administered, and who is notified? | [`rotation`], [`lease`], [`bridge`], [`news`] |
//! | what is wrong with the inventory, or unusual? | [`finding`], [`posture`], [`habit`] |
//! | what may a service do, and has it proven to be itself? | [`token`], [`grant`], [`bearer`], [`proof`] |
//! | who is a person, and what may they do? | [`person`], [`role`], [`mandate_change`] |
//! | where do backups go, what do they hold, and when is the next due? | [`backup`] |
//! | what does the device get? | [`rejection`] |
//! | is the gateway's clock to be believed, and who agrees with it? | [`trusted_time`], [`clock_witness`] |

pub mod access;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod bearer;
pub mod bound;
pub mod bridge;
pub mod bulk;
pub mod certificate;
pub mod claim;
pub mod clock_witness;
pub mod credential;
pub mod device;
pub mod door;
pub mod enrollment;
pub mod finding;
pub mod grant;
pub mod guarded;
pub mod habit;
pub mod id;
pub mod ja4;
pub mod key;
pub mod lease;
pub mod mandate_change;
pub mod news;
pub mod person;
pub mod posture;
pub mod power;
pub mod profile;
pub mod proof;
pub mod refusal_tally;
pub mod rejection;
pub mod renewal;
pub mod right;
pub mod role;
pub mod room;
pub mod rotation;
pub mod secret;
mod tier;
pub mod time;
pub mod token;
pub mod topic;
pub mod tree;
pub mod trusted_time;
pub mod unlock;
mod words;
