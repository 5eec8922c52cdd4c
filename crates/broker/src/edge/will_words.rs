//! Whose words a will that is due is spoken in, by the access as it is then: the device's own, the gateway's for one that was shut
//! out, or none. What is published of it: `engine/wills.rs`.

use std::sync::PoisonError;

use hearthkey_core::access::Admission;
use hearthkey_core::device::DeviceState;

use crate::edge::shared::Shared;
use crate::engine::{DueWill, Voice};

impl Shared {
    /// Speaks every will of the home that is due.
    pub(crate) fn speak_wills(&self) {
        let due = self.hall.with(|engine, now_ms| engine.due_wills(now_ms));
        for will in due {
            loop {
                let epoch = self.epoch.now();
                let voice = self.voice(&will);
                let is_said = self
                    .hall
                    .with(|engine, now_ms| engine.speak(&will, voice, epoch, now_ms));
                if is_said {
                    break;
                }
            }
        }
    }

    /// In whose words a will is spoken: in the device's, as long as the certificate of its connection is let in with all
    /// that its profile says.
    fn voice(&self, will: &DueWill) -> Voice {
        let admitted = will.certificate.as_ref();
        let admitted = admitted.map(|its| self.admit(its, &will.key.client_id));
        if let Some(Ok(admitted)) = admitted
            && admitted.admission == Admission::Full
        {
            return Voice::Own(admitted.rights);
        }
        let known = will.key.owner.device().map(|device| {
            // Another session of the device, under a newer certificate, speaks for it. One that only renews does not.
            let sessions = self.sessions.of(device);
            let is_here = sessions.iter().any(|its| its.admission == Admission::Full);
            let access = self.access.read().unwrap_or_else(PoisonError::into_inner);
            let known = access.device(device);
            let is_active = known.is_some_and(|known| known.state == DeviceState::Active);
            let availability = known.and_then(|known| known.availability(device));
            (availability.filter(|_| !(is_active && is_here)), !is_active)
        });
        let (availability, is_shut_out) = known.unwrap_or((None, true));
        Voice::Gateway {
            availability,
            is_shut_out,
        }
    }
}
