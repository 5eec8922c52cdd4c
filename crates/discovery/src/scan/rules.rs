//! Known forms of secrets, from `rules.toml`.
//!
//! The rules are our own, each written from its maker's documents: rule sets that can be linked as a library either
//! print what they find, ask for a newer compiler, or mix in licenses that ask for more than a notice.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::code::{self, Context};
use super::disjoint::Disjoint;
use super::keywords::Keywords;
use crate::placeholder;

/// How sure a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The form is unmistakable.
    #[default]
    Error,
    /// The context says so, and may be wrong.
    Warning,
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its id, stable.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// One sentence about what it finds.
    pub about: String,
    /// Whose document the form is from.
    pub source: String,
    /// How sure it is.
    #[serde(default)]
    pub level: Level,
    keywords: Vec<String>,
    pattern: String,
    /// Further patterns of the same kind of secret.
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    mixed: bool,
    #[serde(default)]
    random: bool,
    #[serde(default)]
    setting: bool,
    #[serde(default)]
    literal: bool,
    #[serde(default = "usual_reach")]
    reach: usize,
    /// Examples for its test, which are no part of the program's memory.
    #[serde(rename = "hits")]
    _hits: Examples,
    #[serde(rename = "misses")]
    _misses: Examples,
}

#[cfg(test)]
type Examples = Vec<Vec<String>>;
#[cfg(not(test))]
type Examples = serde::de::IgnoredAny;

#[derive(Deserialize)]
struct RuleFile {
    rule: Vec<Rule>,
}

fn usual_reach() -> usize {
    512
}

/// Every rule there is.
pub static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let file: RuleFile = toml::from_str(include_str!("../../rules.toml"))
        .unwrap_or_else(|error| unreachable!("a test reads it: {error}"));
    file.rule
});

/// How far before a keyword a pattern may begin, in bytes.
pub(super) const BEFORE_BYTES: usize = 128;
/// How far after a keyword any pattern may end, in bytes.
pub(super) const REACH_MAX_BYTES: usize = 4096;
/// Rules, prepared for looking.
pub(super) struct Patterns {
    keywords: Keywords,
    /// The rule of each keyword.
    rule_of: Vec<usize>,
    /// Of each rule, built when a keyword of it is met: most scans meet few.
    patterns: Vec<OnceLock<Ways>>,
}

/// The patterns of one rule.
#[derive(Clone)]
struct Ways {
    each: Vec<Regex>,
    /// Matches where one of several does: most texts are passed over after one look.
    any: Option<Regex>,
}

impl Ways {
    fn of(rule: &Rule) -> Result<Self, regex::Error> {
        let build = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
        let patterns: Vec<&String> = std::iter::once(&rule.pattern).chain(&rule.also).collect();
        let each: Result<Vec<Regex>, _> = patterns.iter().map(|pattern| build(pattern)).collect();
        let unnamed = |pattern: &&String| format!("(?:{})", pattern.replace("(?P<secret>", "(?:"));
        let any: Vec<String> = patterns.iter().map(unnamed).collect();
        let any = (any.len() > 1).then(|| build(&any.join("|")));
        Ok(Self {
            each: each?,
            any: any.transpose()?,
        })
    }
}

/// A known form in a text.
pub(super) struct Match {
    pub rule: usize,
    pub start: usize,
    pub end: usize,
    /// The secret, if the text has it encoded.
    pub decoded: Option<Vec<u8>>,
}

impl Patterns {
    pub(super) fn new() -> Self {
        let each = RULES.iter().enumerate();
        let keywords: Vec<(usize, &str)> = each
            .flat_map(|(at, rule)| rule.keywords.iter().map(move |word| (at, word.as_str())))
            .collect();
        let words: Vec<&str> = keywords.iter().map(|(_, word)| *word).collect();
        Self {
            keywords: Keywords::new(&words)
                .unwrap_or_else(|error| unreachable!("a test builds them: {error}")),
            rule_of: keywords.iter().map(|(rule, _)| *rule).collect(),
            patterns: vec![OnceLock::new(); RULES.len()],
        }
    }

    /// Every known form in a text. Where two overlap, the surer rule wins, and of two equally sure the first in the file.
    pub(super) fn look(&self, text: &[u8]) -> Vec<Match> {
        let mut found: Vec<Match> = Vec::new();
        // Where each rule is still to look: windows of keywords that stand close together are one.
        let mut windows: Vec<Option<Range<usize>>> = vec![None; self.patterns.len()];
        self.keywords.each(text, &mut |keyword, word| {
            let rule = self.rule_of[keyword];
            if RULES[rule].setting && !sets_something(text, word.clone()) {
                return;
            }
            let start = word.start.saturating_sub(BEFORE_BYTES);
            let end = text.len().min(word.end + RULES[rule].reach);
            match &mut windows[rule] {
                Some(window) if start <= window.end => window.end = end.max(window.end),
                window => {
                    if let Some(done) = window.replace(start..end) {
                        self.try_rule(rule, text, done, &mut found);
                    }
                }
            }
        });
        for (rule, window) in windows.into_iter().enumerate() {
            if let Some(window) = window {
                self.try_rule(rule, text, window, &mut found);
            }
        }
        found.sort_by_key(|one| (RULES[one.rule].level, one.rule, one.start));
        let mut taken = Disjoint::default();
        found.retain(|one| taken.take(one.start..one.end));
        found
    }

    /// Every match of one rule within a window.
    fn try_rule(&self, rule: usize, text: &[u8], window: Range<usize>, found: &mut Vec<Match>) {
        let Ways { each, any } = self.patterns[rule].get_or_init(|| {
            Ways::of(&RULES[rule]).unwrap_or_else(|error| unreachable!("a test builds it: {error}"))
        });
        // Cut out of its text, a window matches at least where it does within it.
        if any
            .as_ref()
            .is_some_and(|any| !any.is_match(&text[window.clone()]))
        {
            return;
        }
        for pattern in each {
            let mut at = window.start;
            while at < window.end
                && let Some(captures) = pattern.captures_at(&text[..window.end], at)
                && let (Some(whole), Some(secret)) = (captures.get(0), captures.name("secret"))
            {
                at = whole.end().max(at + 1);
                let context = Context {
                    before: &text[whole.start()..secret.start()],
                    after: &text[secret.end()..],
                    setting: RULES[rule].setting,
                };
                if is_told(&RULES[rule], secret.as_bytes(), &context) {
                    found.push(Match {
                        rule,
                        start: secret.start(),
                        end: secret.end(),
                        decoded: None,
                    });
                }
            }
        }
    }
}

/// The longest rest of a setting's name after a keyword, in bytes.
const NAME_REST_MAX: usize = 24;
/// The most blanks between a setting's name and what follows it.
const BLANKS_MAX: usize = 20;

/// Whether something follows a keyword's word that sets a value, or the word is an option of a command. In prose none
/// does, which spares most patterns.
fn sets_something(text: &[u8], word: Range<usize>) -> bool {
    let in_name = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'-';
    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let before = text[..word.start].iter().rev().take(NAME_REST_MAX);
    let name = before.take_while(in_name).count();
    let option = text[word.start - name..].starts_with(b"--");
    let rest = &text[word.end..];
    let rest = &rest[rest.iter().take(NAME_REST_MAX).take_while(in_name).count()..];
    let closing = |byte: &&u8| matches!(byte, b'\\' | b'"' | b'\'' | b']');
    let rest = &rest[rest.iter().take(3).take_while(closing).count()..];
    let blanks = rest.iter().take(BLANKS_MAX).take_while(blank).count();
    option && blanks == 1
        || matches!(text[..word.end].last(), Some(b'=' | b':'))
        || matches!(
            rest.get(blanks),
            Some(b'=' | b':' | b'>' | b'"' | b'\'' | b'\\' | b',' | b'(')
        )
}

/// Whether what has the form may be a secret, and not an example of one, or code that gets one.
fn is_told(rule: &Rule, secret: &[u8], context: &Context<'_>) -> bool {
    if rule.literal {
        return true;
    }
    let text = String::from_utf8_lossy(secret);
    let lower = text.to_ascii_lowercase();
    let mut seen = [false; 256];
    secret
        .iter()
        .for_each(|byte| seen[usize::from(*byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    let mixed = secret.iter().any(u8::is_ascii_digit) && secret.iter().any(u8::is_ascii_alphabetic);
    placeholder::reason(&text).is_none()
        && !["example", "xxxxxx", "your-", "your_"]
            .iter()
            .any(|sample| lower.contains(sample))
        && distinct >= 5.min(secret.len())
        && (mixed || !rule.mixed)
        && (!rule.random || (distinct >= 10 && !code::is_name(&text)))
        && !code::is_no_literal(&text, context)
}

/// What every secret of the rule begins with, if there is such a beginning, and the secret's length.
pub(super) fn excerpt(rule: &Rule, secret: &[u8]) -> String {
    let begins = |word: &&String| {
        secret
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
    };
    let known = rule.keywords.iter().find(begins).map_or("", String::as_str);
    let characters = String::from_utf8_lossy(secret).chars().count();
    format!("{known}… ({characters} characters)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_finds_its_examples_and_passes_over_the_others() {
        let patterns = Patterns::new();
        for (at, rule) in RULES.iter().enumerate() {
            assert!(
                !rule._hits.is_empty() && !rule._misses.is_empty(),
                "{}",
                rule.id
            );
            assert!(
                !rule.about.is_empty() && !rule.source.is_empty(),
                "{}",
                rule.id
            );
            for parts in &rule._hits {
                let text = parts.concat();
                let mut around = vec![text.clone(), format!("x\n{text}\n"), format!("  {text} ")];
                if !rule.setting {
                    around.extend([format!("a,{text},b"), format!("call({text});")]);
                }
                for text in around {
                    let found = patterns.look(text.as_bytes());
                    assert!(
                        found.iter().any(|one| one.rule == at),
                        "{} misses {text:?}",
                        rule.id
                    );
                    for one in found {
                        let secret = &text.as_bytes()[one.start..one.end];
                        let told = excerpt(&RULES[one.rule], secret);
                        let known = told.split('…').next().unwrap();
                        assert!(known.len() < 17 && known.len() * 2 < secret.len(), "{told}");
                    }
                }
            }
            for parts in &rule._misses {
                let text = parts.concat();
                let found = patterns.look(text.as_bytes());
                assert!(found.is_empty(), "{} finds {text:?}", rule.id);
            }
        }
    }

    #[test]
    fn ids_are_unique_and_no_pattern_reaches_further_than_a_buffer_overlaps() {
        let mut ids: Vec<&str> = RULES.iter().map(|rule| rule.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), RULES.len());
        assert!(RULES.len() >= 30);
        assert!(RULES.iter().all(|rule| rule.reach <= REACH_MAX_BYTES));
    }

    #[test]
    fn keywords_without_end_cost_no_more_than_one_pass() {
        let text = "hue://psk password api-token ".repeat(40_000);
        assert!(Patterns::new().look(text.as_bytes()).is_empty());
        let last = format!("{text}\npassword: hunter2hunter2\n");
        assert_eq!(Patterns::new().look(last.as_bytes()).len(), 1);
    }

    #[test]
    fn of_two_rules_for_one_secret_the_first_tells() {
        let rule = RULES
            .iter()
            .find(|rule| rule.id == "home-assistant-token")
            .unwrap();
        let text = rule._hits[0].concat();
        assert_eq!(Patterns::new().look(text.as_bytes()).len(), 1);
    }
}
