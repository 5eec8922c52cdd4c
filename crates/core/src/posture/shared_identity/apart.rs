//! Two machines that use one identity one after the other, and never at the same time: neither throws the other out.
//!
//! An address tells nothing here: a machine moves between networks, and gets another one. A TLS program tells little: new
//! firmware has another one, and a machine may run two. So what counts is that two that differ in both have each come back.

use std::collections::{HashMap, VecDeque};

use super::{COMEBACKS, Machine, SEEN_MAX};
use crate::id::DeviceId;
use crate::time::{Span, Timestamp};

/// Two machines that have both come back within this time are two.
pub const APART_WITHIN: Span = Span::days(7);
/// Devices whose connections are remembered. One more forgets the one that was quiet longest.
const DEVICES_MAX: usize = 4_096;

/// Machines from which devices have connected, each in their order, none twice in a row by its program.
#[derive(Debug, Default)]
pub(super) struct Comings(HashMap<DeviceId, VecDeque<(Timestamp, Machine)>>);

impl Comings {
    /// Takes note of a connection. Returns the two machines that come back by turns, if there are two.
    pub(super) fn come(
        &mut self,
        device: &DeviceId,
        machine: Machine,
        now: Timestamp,
    ) -> Option<[Machine; 2]> {
        // One whose program is not known is told apart from no other.
        machine.ja4?;
        self.make_room(device);
        let came = self.0.entry(device.clone()).or_default();
        match came.back_mut() {
            Some((at, last)) if last.ja4 == machine.ja4 => (*at, *last) = (now, machine),
            Some((_, last)) if !is_elsewhere(last, &machine) => {
                // Two programs of one machine, or a new firmware: what was before tells nothing any more.
                came.clear();
                came.push_back((now, machine));
            }
            _ => came.push_back((now, machine)),
        }
        if came.len() > SEEN_MAX {
            came.pop_front();
        }
        by_turns(came, now)
    }

    pub(super) fn forget(&mut self, device: &DeviceId) {
        self.0.remove(device);
    }

    fn make_room(&mut self, newcomer: &DeviceId) {
        if self.0.len() < DEVICES_MAX || self.0.contains_key(newcomer) {
            return;
        }
        let last_at = |came: &VecDeque<(Timestamp, Machine)>| came.back().map(|(at, _)| *at);
        let quiet = self.0.iter().min_by_key(|(_, came)| last_at(came));
        if let Some(device) = quiet.map(|(device, _)| device.clone()) {
            self.forget(&device);
        }
    }
}

/// Whether one is at another address than the other. A host may use IPv4 and IPv6 by turns, and those cannot be compared.
fn is_elsewhere(one: &Machine, other: &Machine) -> bool {
    one.address.is_ipv4() == other.address.is_ipv4() && one.address != other.address
}

fn by_turns(came: &VecDeque<(Timestamp, Machine)>, now: Timestamp) -> Option<[Machine; 2]> {
    let since = now.before(APART_WITHIN);
    let recent = came.iter().filter(|(at, _)| *at >= since);
    let recent: Vec<&Machine> = recent.map(|(_, machine)| machine).collect();
    let is_back = |(at, machine): &(usize, &&Machine)| {
        let before = recent.get(..at.saturating_sub(1)).unwrap_or_default();
        before.iter().any(|earlier| earlier.ja4 == machine.ja4)
    };
    let comebacks = recent.iter().enumerate().filter(is_back).count();
    match recent.as_slice() {
        [.., first, second] if comebacks >= COMEBACKS => Some([**first, **second]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, lamp, machine};
    use super::*;

    /// Each of these machines connects in its turn, so many hours apart.
    fn found(machines: &[Machine], hours: i64) -> Option<[Machine; 2]> {
        let mut comings = Comings::default();
        let mut found = None;
        for (n, machine) in machines.iter().enumerate() {
            found = comings.come(&lamp(), *machine, at(n as i64 * hours * 3600));
        }
        found
    }

    #[test]
    fn one_machine_that_moves_or_changes_is_never_two() {
        let (home, moved) = (machine(1, "a"), machine(2, "a"));
        let (updated, updated_elsewhere) = (machine(1, "b"), machine(2, "b"));
        let unknown = Machine { ja4: None, ..moved };
        let v6 = Machine {
            address: "fd00::1".parse().unwrap(),
            ..updated
        };
        for (why, machines) in [
            ("it connects again", vec![home; 9]),
            ("two networks by turns", [home, moved].repeat(4)),
            ("a new address", vec![home, home, moved, moved]),
            ("a new firmware", vec![home, updated, updated]),
            (
                "both at once",
                vec![home, updated_elsewhere, updated_elsewhere],
            ),
            ("and put back", vec![home, updated_elsewhere, home, home]),
            ("two programs of one machine", [home, updated].repeat(4)),
            (
                "two programs of one machine that moves",
                [home, updated, updated_elsewhere, moved].repeat(3),
            ),
            ("IPv4 and IPv6 by turns", [home, v6].repeat(4)),
            ("a program that is not known", [home, unknown].repeat(4)),
        ] {
            assert_eq!(found(&machines, 1), None, "{why}");
        }
    }

    #[test]
    fn two_that_differ_in_address_and_program_and_come_back_by_turns_are_two() {
        let (here, there) = (machine(1, "a"), machine(2, "b"));
        assert_eq!(found(&[here, there].repeat(2), 24), Some([here, there]));
        // The device itself has got another address in between.
        let moved = machine(3, "a");
        assert_eq!(
            found(&[here, there, moved, there], 24),
            Some([moved, there])
        );
        assert_eq!(found(&[here, there].repeat(2), 24 * 4), None, "too slowly");
    }

    #[test]
    fn what_is_remembered_of_connections_is_bounded() {
        let mut comings = Comings::default();
        for n in 0..DEVICES_MAX as i64 + 9 {
            let device = format!("d-{n}").parse().unwrap();
            for round in 0..9 {
                let host = machine(round, &round.to_string());
                comings.come(&device, host, at(n));
            }
        }
        assert_eq!(comings.0.len(), DEVICES_MAX);
        assert!(comings.0.values().all(|came| came.len() <= SEEN_MAX));
    }
}
