//! Topic aliases towards a client (MQTT 5 §3.3.2.3.4).

use std::collections::HashMap;
use std::num::NonZeroU16;

use super::delivery::Alias;
use super::text::Text;

/// Which topics a client has a number for. The first topics of a connection get one, until the client's Topic Alias
/// Maximum or our own bound is reached; later topics are written in full.
#[derive(Debug)]
pub struct OutgoingAliases {
    max: u16,
    known: HashMap<Text, NonZeroU16>,
}

impl OutgoingAliases {
    /// `client_max`: the client's Topic Alias Maximum, 0 in MQTT 3.1.1. `own_max`: how many are remembered.
    pub fn new(client_max: u16, own_max: u16) -> Self {
        Self {
            max: client_max.min(own_max),
            known: HashMap::new(),
        }
    }

    /// How to write this topic now.
    ///
    /// `Alias::Set` is remembered as sent, so the message must be sent; call [`OutgoingAliases::forget`] if it is not.
    pub fn assign(&mut self, topic: &Text) -> Alias {
        if self.max == 0 {
            return Alias::None;
        }
        if let Some(alias) = self.known.get(topic) {
            return Alias::Use(*alias);
        }
        let next = u16::try_from(self.known.len() + 1).ok();
        match next
            .filter(|next| *next <= self.max)
            .and_then(NonZeroU16::new)
        {
            None => Alias::None,
            Some(alias) => {
                self.known.insert(topic.compact(), alias);
                Alias::Set(alias)
            }
        }
    }

    /// The message that should have given the client the newest alias was not sent: it was too large, or was dropped.
    pub fn forget(&mut self, topic: &Text) {
        let newest = self.known.len();
        if self
            .known
            .get(topic)
            .is_some_and(|alias| usize::from(alias.get()) == newest)
        {
            self.known.remove(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::try_from(text).unwrap()
    }

    #[test]
    fn the_first_topics_get_an_alias_and_later_ones_are_written_in_full() {
        let mut aliases = OutgoingAliases::new(2, 100);
        let one = NonZeroU16::MIN;
        let two = NonZeroU16::new(2).unwrap();
        assert_eq!(aliases.assign(&text("a")), Alias::Set(one));
        assert_eq!(aliases.assign(&text("a")), Alias::Use(one));
        assert_eq!(aliases.assign(&text("b")), Alias::Set(two));
        assert_eq!(aliases.assign(&text("c")), Alias::None);
        assert_eq!(aliases.assign(&text("b")), Alias::Use(two));
    }

    #[test]
    fn an_alias_that_was_not_sent_is_given_to_the_next_topic() {
        let mut aliases = OutgoingAliases::new(1, 1);
        assert_eq!(aliases.assign(&text("a")), Alias::Set(NonZeroU16::MIN));
        aliases.forget(&text("a"));
        assert_eq!(aliases.assign(&text("b")), Alias::Set(NonZeroU16::MIN));
    }

    #[test]
    fn a_client_that_takes_none_gets_none() {
        let mut aliases = OutgoingAliases::new(0, 100);
        assert_eq!(aliases.assign(&text("a")), Alias::None);
    }
}
