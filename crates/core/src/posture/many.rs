//! Things of which the same is wrong: in one finding that counts them, or in one each as long as they are few.

use crate::finding::{Finding, FindingKind, RemedyAction, RemedyKind, Severity};

/// Names that a finding about many gives.
pub const NAMED_MAX: usize = 5;
/// Findings of one kind that stand by themselves; the rest is counted in one.
pub const EACH_MAX: usize = 20;

/// Things of which the same is wrong: the first few names, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The first of them.
    pub names: Vec<String>,
    /// All of them.
    pub count: u64,
}

/// Things of which each is a finding by itself, as long as they are few.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Each {
    /// The first of them.
    pub first: Vec<Finding>,
    /// The others.
    pub rest: Named,
}

impl Named {
    /// Adds one.
    pub fn add(&mut self, name: String) {
        self.count += 1;
        if self.names.len() < NAMED_MAX {
            self.names.push(name);
        }
    }

    pub(super) fn text(&self, noun: &str) -> String {
        let names = self.text_of_names();
        match self.count {
            1 => format!("1 {noun}: {names}"),
            count => format!("{count} {noun}s: {names}"),
        }
    }

    fn text_of_names(&self) -> String {
        let (first, more) = (self.names.join(", "), self.count - self.names.len() as u64);
        match more {
            0 => first,
            more => format!("{first} and {more} more"),
        }
    }

    /// The only one, if there is one and no other.
    fn only(&self) -> Option<&str> {
        match (self.count, self.names.as_slice()) {
            (1, [name]) => Some(name),
            _ => None,
        }
    }
}

impl Each {
    /// Adds one, by its name. The finding is made only if there is room for it in `first`.
    pub fn add(&mut self, name: impl FnOnce() -> String, finding: impl FnOnce() -> Finding) {
        match self.first.len() < EACH_MAX {
            true => self.first.push(finding()),
            false => self.rest.add(name()),
        }
    }

    pub(super) fn judged(&self, kind: FindingKind, home: &str) -> Vec<Finding> {
        let mut findings = self.first.clone();
        if self.rest.count > 0 {
            let object = format!("home:{home}");
            let rest = Finding::new(kind, Severity::Medium, object, "beyond");
            findings.push(rest.saying(
                format!(
                    "The same holds for {} more: {}.",
                    self.rest.count,
                    self.rest.text_of_names()
                ),
                "Fix the ones with findings of their own first. These appear next.",
            ));
        }
        findings
    }
}

/// One finding about many things of one kind.
pub(super) struct AboutMany<'a> {
    pub(super) kind: FindingKind,
    pub(super) severity: Severity,
    pub(super) named: &'a Named,
    pub(super) noun: &'static str,
    pub(super) what: &'static str,
    pub(super) remedy: &'static str,
    /// The act that puts one of them right, where there is one.
    pub(super) act: Option<RemedyKind>,
}

impl AboutMany<'_> {
    pub(super) fn finding(&self, home: &str) -> Option<Finding> {
        if self.named.count == 0 {
            return None;
        }
        let (noun, named) = (self.noun, self.named);
        let finding = Finding::new(self.kind, self.severity, format!("home:{home}"), noun);
        let finding = finding.saying(format!("{} {}.", self.what, named.text(noun)), self.remedy);
        let action = self.act.zip(named.only());
        Some(match action {
            Some((kind, name)) => {
                finding.solved_by(RemedyAction::new(kind, format!("{noun}:{name}")))
            }
            None => finding,
        })
    }
}
