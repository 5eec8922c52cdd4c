//! Every bound of this crate, with its unit and its reason.

use std::time::Duration;

/// Settings of one bridge, in bytes. The longest part is a PEM root; a few of them fit.
pub(crate) const SETTINGS_MAX_BYTES: usize = 64 * 1024;
/// One answer of a bridge, in bytes: a body, a message, a program's output. Answers about credentials are far
/// shorter; what is longer is not read on, so a bridge cannot fill the memory.
pub(crate) const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// One answer that lists things, in bytes. Home Assistant names about 350 bytes a token, and browsers leave hundreds.
pub(crate) const LIST_MAX_BYTES: usize = 512 * 1024;
/// A value that a bridge made, in bytes. The longest known are JSON Web Tokens of a few KiB.
pub(crate) const MINTED_MAX_BYTES: usize = 16 * 1024;
/// An id that a bridge gave, in bytes.
pub(crate) const REMOTE_ID_MAX_BYTES: usize = 512;
/// The head of an HTTP answer, in bytes. Hyper takes no less than 8 KiB.
pub(crate) const HEAD_MAX_BYTES: usize = 32 * 1024;
/// Messages of one websocket or MQTT conversation before the one that is waited for. A talkative peer does not keep
/// us listening for ever.
pub(crate) const MESSAGES_MAX: usize = 256;
/// What is quoted of a bridge's own words, in characters: a sentence.
pub(crate) const QUOTE_MAX_CHARS: usize = 160;
/// The longest word that is quoted, in characters. Keys and tokens are longer, words of a language are not.
pub(crate) const WORD_MAX_CHARS: usize = 24;
/// Rights that are listed for one credential. More are cut, and the list says so.
pub(crate) const RIGHTS_MAX: usize = 200;
/// Zigbee2MQTT's files, in bytes: 300 devices take about 1 MiB of `database.db`.
pub(crate) const DEVICE_FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The longest time that settings may grant one exchange, in seconds. Longer work belongs into the background there.
pub(crate) const TIMEOUT_MAX_S: u64 = 120;
/// A whole operation beyond the time for a person: an operation is at most this many exchanges long.
pub(crate) const EXCHANGES_MAX: u32 = 8;

/// Names that are looked up at the same time, of all bridges together. Each holds a thread until the resolver answers, which
/// takes 30 s and more where its servers are silent.
pub(crate) const LOOK_UPS_MAX: usize = 8;
/// How long a look-up waits for one of those places. Resolvers answer within milliseconds; then there is one.
pub(crate) const LOOK_UP_PLACE_WAIT: Duration = Duration::from_secs(5);

/// How long a connector waits. `Default` is for real bridges; tests that wait for a time-out use less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// One exchange: connecting, TLS, request and whole answer. A Raspberry Pi under load answers in a few seconds.
    pub exchange: Duration,
    /// A person who walks to a bridge and presses its button.
    pub person: Duration,
    /// Between two questions whether the button was pressed.
    pub poll: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            exchange: Duration::from_secs(15),
            person: Duration::from_secs(120),
            poll: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// The same, with a time of the settings for one exchange.
    pub(crate) fn for_exchange(self, timeout_s: Option<u64>) -> Self {
        let exchange = timeout_s.map_or(self.exchange, Duration::from_secs);
        Self { exchange, ..self }
    }

    /// The bound of a whole operation, whatever the connector does.
    pub(crate) fn operation(self) -> Duration {
        self.exchange * EXCHANGES_MAX + self.person
    }
}
