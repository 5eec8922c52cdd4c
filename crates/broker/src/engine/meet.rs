//! Connections of one device that come while another is there: the gateway is notified, and judges whether they are of two machines.

use hearthkey_core::posture::shared_identity::Machine;

use crate::engine::Engine;
use crate::engine::session::Key;
use crate::event::{Event, clipped};

impl Engine {
    /// A client comes from `later` while its device has a connection from `earlier`, which was last seen at that time.
    pub(super) fn meet(
        &mut self,
        key: &Key,
        (earlier, heard_ms): (Machine, u64),
        later: Machine,
        now_ms: u64,
    ) {
        let Some(device) = key.owner.device() else {
            return;
        };
        let book = self.owners.get(&key.owner);
        let Some(book) = book.and_then(|at| self.books.get_mut(*at)) else {
            return;
        };
        if let Some(times) = book.meetings.count(now_ms) {
            self.notes.add(Event::MachinesMet {
                device: device.clone(),
                client_id: clipped(&key.client_id),
                earlier,
                heard_ago_ms: now_ms.saturating_sub(heard_ms),
                later,
                times,
            });
        }
    }

    /// The same beside the other connections of its device: the one that was seen last counts.
    pub(crate) fn meet_all(&mut self, key: &Key, later: Machine, now_ms: u64) {
        let its = self.sessions_of(&key.owner);
        let others = its.iter().filter_map(|at| {
            let session = self.sessions.get(*at).filter(|its| its.key != *key)?;
            let link = session.link.as_ref()?;
            Some((link.machine(), link.heard_ms))
        });
        if let Some(earlier) = others.max_by_key(|(_, heard_ms)| *heard_ms) {
            self.meet(key, earlier, later, now_ms);
        }
    }
}
