//! Issuing under measurement, and the start of a gateway that has issued many certificates.

use std::path::PathBuf;
use std::sync::Arc;

use hearthkey_gateway::measure::{Issuance, MeasureError};
use serde_json::json;
use tempfile::TempDir;

use crate::clock::Stopwatch;
use crate::failure::{Failure, failed};
use crate::found::{Found, Latency};
use crate::process::{cpu_us, written_bytes};
use crate::program::{Program, make_directory};

/// The issuing journey, so many CSRs in all, so many at the same time, in a home with so many certificates.
pub async fn issue(
    program: &Program,
    count: usize,
    concurrency: usize,
    stored: usize,
) -> Result<Found, Failure> {
    let directory = make_directory()?;
    let home = program.make_home(directory.path()).await?;
    let csrs = Arc::new(csrs(64)?);
    let issuance = Arc::new(Issuance::open(&home).await?);
    issuance.seed("stored", stored, &csrs[0]).await?;
    let watch = Stopwatch::start();
    tokio::task::block_in_place(|| issuance.sign_in_memory(&csrs, count))?;
    let in_memory = watch.elapsed().as_secs_f64();
    let claims = Arc::new(issuance.prepare("device", count).await?);
    let (cpu, written) = (own_cpu_us(), own_written_bytes());
    let watch = Stopwatch::start();
    let mut tasks = Vec::new();
    for worker in 0..concurrency {
        let (issuance, claims, csrs) = (
            Arc::clone(&issuance),
            Arc::clone(&claims),
            Arc::clone(&csrs),
        );
        tasks.push(tokio::spawn(async move {
            let mut us = Vec::new();
            for n in (worker..claims.len()).step_by(concurrency) {
                let watch = Stopwatch::start();
                issuance.issue(&claims[n], &csrs[n % csrs.len()]).await?;
                us.push(watch.elapsed_us());
            }
            Ok::<_, MeasureError>(us)
        }));
    }
    let mut us = Vec::with_capacity(count);
    for task in tasks {
        us.extend(task.await??);
    }
    let seconds = watch.elapsed().as_secs_f64();
    let cpu_us = own_cpu_us() - cpu;
    let written = own_written_bytes().zip(written);
    let written = written.map(|(after, before)| (after - before) / count.max(1) as u64);
    let in_memory_per_s = count as f64 / in_memory;
    let share = count as f64 / seconds / in_memory_per_s;
    let details = json!({
        "in_memory_one_core_per_s": in_memory_per_s,
        "share_of_in_memory": share,
        "stored_before": stored,
        // Through the database's log; what it moves into the file later is not in it.
        "written_bytes_each": written,
    });
    if let Some(issuance) = Arc::into_inner(issuance) {
        issuance.close().await;
    }
    Ok(Found {
        operations: count as f64,
        seconds,
        cpu_us,
        latency: Latency::of(us),
        details,
    })
}

/// The start of a gateway, five times, in a home with so many certificates.
pub async fn start(program: &Program, count: usize) -> Result<Found, Failure> {
    let (_directory, home) = full(program, count).await?;
    let mut us = Vec::new();
    let mut rss_kib = 0;
    let watch = Stopwatch::start();
    for _ in 0..5 {
        let gateway = program.start(&home).await?;
        us.push(gateway.ready_us);
        rss_kib = gateway.process.rss_kib();
        gateway.stop().await;
    }
    let details = json!({ "certificates": count, "rss_idle_kib": rss_kib });
    let seconds = watch.elapsed().as_secs_f64();
    Ok(Found {
        operations: 5.0,
        seconds,
        cpu_us: 0,
        latency: Latency::of(us),
        details,
    })
}

/// A home with so many devices, and the directory that it is in.
pub async fn full(program: &Program, devices: usize) -> Result<(TempDir, PathBuf), Failure> {
    let directory = make_directory()?;
    let home = program.make_home(directory.path()).await?;
    let issuance = Issuance::open(&home).await?;
    issuance.seed("stored", devices, &csrs(1)?[0]).await?;
    issuance.close().await;
    Ok((directory, home))
}

fn csrs(count: usize) -> Result<Vec<Vec<u8>>, Failure> {
    let cannot = |error: rcgen::Error| failed("a signing request could not be made", &error);
    (0..count)
        .map(|_| {
            let key = rcgen::KeyPair::generate().map_err(cannot)?;
            let params = rcgen::CertificateParams::default();
            let request = params.serialize_request(&key).map_err(cannot)?;
            Ok(request.pem().map_err(cannot)?.into_bytes())
        })
        .collect()
}

/// What this process has sent to the disk (Linux, proc(5)).
fn own_written_bytes() -> Option<u64> {
    written_bytes(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn own_cpu_us() -> u64 {
    cpu_us(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}
