//! Processes under measurement, and what the kernel says of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::process::Child;

/// A process under measurement.
pub struct Process(Child);

impl Process {
    /// A child that is measured; it ends with this value.
    pub fn of(child: Child) -> Self {
        Self(child)
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.0.id().unwrap_or_default();
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
    }

    /// CPU time so far, user and system, in microseconds (proc(5): fields 14 and 15 of stat).
    pub fn cpu_us(&self) -> u64 {
        cpu_us(&self.proc("stat"))
    }

    /// What it has sent to the disk so far, in bytes.
    pub fn written_bytes(&self) -> u64 {
        written_bytes(&self.proc("io")).unwrap_or_default()
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory so far, or since [`Process::forget_peak`], in KiB.
    pub fn rss_peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    /// Lets the peak begin anew (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        let pid = self.0.id().unwrap_or_default();
        // Where it cannot be, the peak is that of the whole life: too much, never too little.
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    }
}

/// The bytes that a process has caused to be sent to the storage (proc(5), `write_bytes` of io).
pub fn written_bytes(io: &str) -> Option<u64> {
    let mut lines = io.lines();
    lines.find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok())
}

/// CPU time of a stat line. A tick is 10 ms on every Linux that Rust supports.
pub fn cpu_us(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|field| field.parse::<u64>().ok())
        .sum::<u64>()
        * 10_000
}

/// A broker under measurement.
pub struct Broker {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
    /// From the start of the process to its readiness, in microseconds.
    pub ready_us: u64,
}

impl Broker {
    /// Ends the process and waits until it is gone.
    pub async fn stop(mut self) {
        // An error means that it has ended already.
        let _ = self.process.0.kill().await;
    }
}

/// A port that nobody uses.
pub fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The local address of the n-th connection: the listener lets in 256 from one, and more from one network than that.
pub fn local(n: usize) -> IpAddr {
    let network = u8::try_from(1 + n / 1_000).unwrap_or(u8::MAX);
    let host = u8::try_from(2 + n % 1_000 / 200).unwrap_or(u8::MAX);
    Ipv4Addr::new(127, 0, network, host).into()
}
