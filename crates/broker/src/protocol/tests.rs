//! The protocol without sockets: every rule, every bound, and bytes that nobody would think of.

mod build;
mod connecting;
mod flowing;
mod hostile;
mod legal;
mod round_trip;
mod sending;
mod splitting;
