//! The local API, over the Unix socket and HTTPS, and the interface's pages.

pub(crate) mod activity;
mod answered;
mod busy;
pub(crate) mod closing;
mod files;
pub(crate) mod gateway;
mod handed;
mod judge;
pub(crate) mod listener;
pub(crate) mod middleware;
mod openapi;
pub(crate) mod pages;
pub(crate) mod policy;
mod problem;
mod reach;
pub(crate) mod route;
pub(crate) mod router;
mod routes;
pub(crate) mod socket;
mod waiters;
