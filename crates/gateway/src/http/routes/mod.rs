//! The routes: parse, ask one use case, answer.

pub(crate) mod backups;
pub(crate) mod bridges;
pub(crate) mod bulk;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod events;
pub(crate) mod findings;
pub(crate) mod leases;
pub(crate) mod log;
pub(crate) mod overview;
pub(crate) mod people;
pub(crate) mod profiles;
pub(crate) mod provenance;
pub(crate) mod system;
pub(crate) mod tokens;
pub(crate) mod trust;
pub(crate) mod unlock;
