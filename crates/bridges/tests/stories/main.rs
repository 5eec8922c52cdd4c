//! Stories of the bridges, run against real products where they can be had and small servers where not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod broker;
mod command;
mod home_assistant;
#[allow(dead_code, reason = "what no story here needs")]
mod house;
mod http;
mod hue;
mod liars;
mod made_here;
mod mosquitto;
mod pages;
mod server;
mod talkers;
mod values;
