//! UTF-8 strings (MQTT 5 §1.5.4), topic names and topic filters (§4.7, §4.8.2).

use std::fmt;

use bytes::Bytes;

use super::reason::{ReasonCode, Violation};

/// UTF-8 without U+0000, control characters and non-characters: what every client takes in a string.
///
/// It shares its bytes with the packet it came from. Comparing and hashing look at the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(Bytes);

impl Text {
    /// The text of these bytes, if every client takes it.
    ///
    /// U+0000 and what is no UTF-8 is malformed [MQTT-1.5.4-1] [MQTT-1.5.4-2]. Control characters (U+0001 to U+001F,
    /// U+007F to U+009F) and non-characters are legal, but a receiver may end the connection over them (§1.5.4), and
    /// widespread ones do: `refusal` is the reason to give for those.
    pub(super) fn checked(bytes: Bytes, refusal: ReasonCode) -> Result<Self, Violation> {
        check(&bytes, refusal)?;
        Ok(Self(bytes))
    }

    /// The text as a string.
    pub fn as_str(&self) -> &str {
        // It was UTF-8 when it was made. Looking once more costs a few nanoseconds and no `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its bytes in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes in UTF-8, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same text with bytes of its own, so that it holds no packet in memory.
    pub fn compact(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    pub(super) fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&str> for Text {
    type Error = Violation;

    /// A copy of this string, at most 65,535 bytes long.
    fn try_from(text: &str) -> Result<Self, Violation> {
        if text.len() > usize::from(u16::MAX) {
            return Err(Violation::malformed(
                "§1.5.4",
                "a string has more than 65,535 bytes",
            ));
        }
        Self::checked(
            Bytes::copy_from_slice(text.as_bytes()),
            ReasonCode::MalformedPacket,
        )
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks that bytes are text that every client takes: see [`Text::checked`].
pub(super) fn check(bytes: &[u8], refusal: ReasonCode) -> Result<(), Violation> {
    // Without leaving early, so that the compiler looks at many bytes at a time.
    if bytes
        .iter()
        .fold(true, |ok, b| ok & (0x20..0x7f).contains(b))
    {
        return Ok(());
    }
    // `from_utf8` refuses surrogates, over-long forms and everything above U+10FFFF.
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Violation::malformed("[MQTT-1.5.4-1]", "a string is not UTF-8"))?;
    for character in text.chars() {
        match character {
            '\0' => {
                return Err(Violation::malformed(
                    "[MQTT-1.5.4-2]",
                    "a string contains U+0000",
                ));
            }
            '\u{1}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => {
                return Err(Violation::because(
                    refusal,
                    "§1.5.4",
                    "a string contains a control character",
                ));
            }
            c if is_noncharacter(c) => {
                return Err(Violation::because(
                    refusal,
                    "§1.5.4",
                    "a string contains a code point that is no character",
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// U+FDD0 to U+FDEF and the last two code points of every plane (Unicode, section 23.7).
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// Whether a text may be the topic of a message: not empty, and without wildcards (§4.7.1, §4.7.3).
pub fn is_topic_name(topic: &str) -> bool {
    is_topic(topic.as_bytes())
}

/// [`is_topic_name`] of bytes that are UTF-8.
pub(super) fn is_topic(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .fold(true, |ok, b| ok & !matches!(b, b'+' | b'#'))
}

/// A topic filter that a client subscribed or unsubscribed, `$share/GROUP/` included (§4.7, §4.8.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    whole: Text,
    /// The bytes before the filter proper: 0, or the length of `$share/GROUP/`.
    inner_at: u16,
}

const SHARE: &str = "$share/";

impl Filter {
    /// Reads a filter.
    ///
    /// In both versions a filter that begins with `$share/` is a shared subscription, as other servers have it.
    pub fn parse(whole: Text) -> Result<Self, Violation> {
        const INVALID: ReasonCode = ReasonCode::TopicFilterInvalid;
        let text = whole.as_str();
        if text.is_empty() {
            return Err(Violation::because(
                INVALID,
                "[MQTT-4.7.3-1]",
                "a topic filter is empty",
            ));
        }
        let inner = match text.strip_prefix(SHARE) {
            None if text == "$share" => {
                return Err(Violation::because(
                    INVALID,
                    "§4.8.2",
                    "$share without a group",
                ));
            }
            None => text,
            Some(rest) => {
                let (group, inner) = rest.split_once('/').ok_or(Violation::because(
                    INVALID,
                    "[MQTT-4.8.2-2]",
                    "a shared subscription without a topic filter",
                ))?;
                if group.is_empty() || group.contains(['+', '#']) {
                    return Err(Violation::because(
                        INVALID,
                        "[MQTT-4.8.2-1] [MQTT-4.8.2-2]",
                        "a share name is empty or contains a wildcard",
                    ));
                }
                if inner.is_empty() {
                    return Err(Violation::because(
                        INVALID,
                        "[MQTT-4.8.2-2]",
                        "a shared subscription with an empty topic filter",
                    ));
                }
                inner
            }
        };
        check_wildcards(inner)?;
        let inner_at = u16::try_from(text.len() - inner.len())
            .map_err(|_| Violation::malformed("§1.5.4", "a string has more than 65,535 bytes"))?;
        Ok(Self { whole, inner_at })
    }

    /// The filter as the client wrote it.
    pub fn as_str(&self) -> &str {
        self.whole.as_str()
    }

    /// The filter that topics are compared with: without `$share/GROUP/`.
    pub fn inner(&self) -> &str {
        self.as_str()
            .get(usize::from(self.inner_at)..)
            .unwrap_or_default()
    }

    /// The group, if the subscription is shared (§4.8.2).
    pub fn share_group(&self) -> Option<&str> {
        let end = usize::from(self.inner_at).checked_sub(1)?;
        self.as_str().get(SHARE.len()..end)
    }

    /// The text, shared.
    pub fn text(&self) -> &Text {
        &self.whole
    }
}

/// `#` is a whole level and the last, `+` is a whole level (§4.7.1).
fn check_wildcards(filter: &str) -> Result<(), Violation> {
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        if level == "#" {
            if levels.peek().is_some() {
                return Err(Violation::because(
                    ReasonCode::TopicFilterInvalid,
                    "[MQTT-4.7.1-1]",
                    "# is not the last level of a topic filter",
                ));
            }
        } else if level != "+" && level.contains(['#', '+']) {
            return Err(Violation::because(
                ReasonCode::TopicFilterInvalid,
                "[MQTT-4.7.1-1] [MQTT-4.7.1-2]",
                "a wildcard does not stand for a whole level of a topic filter",
            ));
        }
    }
    Ok(())
}
