//! What the screens of the interface ask, in a home that is full.

use hearthkey_api::SOCKET_FILE;
use serde_json::json;

use crate::clock::Stopwatch;
use crate::failure::Failure;
use crate::found::Found;
use crate::issuing::full;
use crate::program::Program;
use crate::vault::{Inventory, load_average};

/// Each request of each screen, one after the other over the socket, with so many devices.
pub async fn screens(program: &Program, count: usize, stored: usize) -> Result<Found, Failure> {
    let (_directory, home) = full(program, stored).await?;
    let gateway = program.start(&home).await?;
    let mut inventory = Inventory::of(&home.join(SOCKET_FILE), gateway).await?;
    let middle = stored / 2;
    let list = "/api/v1/devices?limit=100";
    let mut details = json!({"stored": stored});
    let begun = Stopwatch::start();
    let before = inventory.cpu_us();
    let mut operations = 0;
    // A reader right after the start waits until the home has been judged for the first time.
    details["home_overview_after_start"] = inventory.measure("/api/v1/overview", 1).await?;
    for (what, path) in [
        ("home_overview", "/api/v1/overview".to_owned()),
        ("home_posture", "/api/v1/posture".to_owned()),
        ("devices_first_page", list.to_owned()),
        (
            "devices_scrolled_to_the_middle",
            format!("{list}&offset={middle}"),
        ),
        ("devices_search_one", format!("{list}&q=stored-{middle}")),
        ("devices_search_none", format!("{list}&q=no-such-thing")),
        (
            "devices_by_end",
            format!("{list}&sort=not_after&order=desc"),
        ),
        ("devices_of_a_state", format!("{list}&state=active")),
        ("devices_summary", "/api/v1/devices/summary".to_owned()),
        ("device", format!("/api/v1/devices/stored-{middle}")),
        (
            "device_rights",
            format!("/api/v1/devices/stored-{middle}/rights"),
        ),
        ("vault", "/api/v1/credentials".to_owned()),
        ("activity", "/api/v1/log/search?limit=100".to_owned()),
        (
            "activity_chart",
            "/api/v1/log/histogram?buckets=60".to_owned(),
        ),
    ] {
        details[what] = inventory.measure(&path, count).await?;
        operations += count;
    }
    details["load_average"] = json!(load_average());
    let cpu_us = inventory.cpu_us() - before;
    inventory.stop().await;
    Ok(Found {
        operations: operations as f64,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_us,
        latency: None,
        details,
    })
}
