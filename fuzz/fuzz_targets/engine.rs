//! The engine of the front door: whatever several clients, the gateway and the clock do, it counts what it holds, holds no
//! more than it may, and goes on after a crash where it was written down.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| hearthkey_broker::fuzz_engine(input));
