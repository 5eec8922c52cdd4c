use hearthkey_core::audit::{Actor, Entry};
use hearthkey_core::claim::{Claim, LIFETIME_DEFAULT};
use hearthkey_core::id::{Fingerprint, HomeId};
use hearthkey_core::time::Timestamp;

use super::*;
use crate::change::Write;
use crate::change_apply::NEWEST_DECISION;
use crate::keys::RootKey;
use crate::log::open_checkpoint;
use crate::log_archive::verify_export;

const ORIGIN: &str = "hearthkey.home.arpa/home-1";

struct Fixture {
    state: State,
    vkey: String,
    checkpoints: watch::Receiver<Option<Arc<SignedCheckpoint>>>,
    /// As the store has one, so that the files stay the same.
    _idle: Connection,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let home: HomeId = "home-1".parse().unwrap();
    let path = dir.path().join("hearthkey.db");
    let key = Arc::new(RootKey::generate().database(&home));
    std::fs::File::create(&path).unwrap();
    let mut connection = connection::open(&path, &key, Use::Write).unwrap();
    connection::migrate(&mut connection).unwrap();
    let (private, vkey) = LogKey::generate(ORIGIN);
    let log_key = LogKey::parse(&private, ORIGIN).unwrap();
    let (sender, checkpoints) = watch::channel(None);
    let files = Arc::new(DataDir::open(dir.path()).unwrap());
    let state = State {
        database: DatabaseFiles::of(&files).unwrap(),
        dir: files,
        path,
        key,
        log_key,
        checkpoints: sender,
        journal: None,
        open: None,
    };
    Fixture {
        state,
        vkey,
        checkpoints,
        _idle: connection,
        _dir: dir,
    }
}

fn recorded(name: &'static str) -> Change {
    let at = Timestamp::from_s(1_800_000_000);
    Change::record(Entry::new(at, Actor::gateway(), "test", name.into()))
        .write(Write::Setting(name, b"1".to_vec()))
}

impl Fixture {
    /// Commits changes as one group and tells what became of each.
    fn group(&mut self, changes: Vec<Change>) -> Vec<Result<u64, CommitError>> {
        let (jobs, answers): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .map(|change| {
                let (reply, answer) = oneshot::channel();
                (Job { change, reply }, answer)
            })
            .unzip();
        self.state.commit_group(jobs);
        let verdict = |answer: oneshot::Receiver<_>| answer.blocking_recv().unwrap();
        let verdicts = answers.into_iter().map(verdict);
        verdicts
            .map(|verdict: Result<Committed, _>| verdict.map(|done| done.first_seq))
            .collect()
    }

    /// By which index a question is answered.
    fn plan(&self, sql: &str) -> String {
        let (connection, _) = self.state.reopen().unwrap();
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = connection.prepare(&sql).unwrap();
        let steps = statement.query_map(["a"], |row| row.get(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        steps.join("; ")
    }

    fn settings(&self) -> Vec<String> {
        let (connection, _) = self.state.reopen().unwrap();
        let mut names = connection
            .prepare("SELECT name FROM setting ORDER BY name")
            .unwrap();
        let rows = names.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Checks the whole log against the newest checkpoint, and gives its size.
    fn verified(&self) -> u64 {
        let (connection, _) = self.state.reopen().unwrap();
        let records = crate::registry::Registry(&connection).records(0, 1000);
        let export: Vec<u8> = records
            .unwrap()
            .into_iter()
            .flat_map(|record| [record, b"\n".to_vec()].concat())
            .collect();
        let newest = self.checkpoints.borrow().clone().unwrap();
        open_checkpoint(&newest.note, &self.vkey).unwrap();
        verify_export(export.as_slice(), &newest.note[..], &self.vkey)
            .unwrap()
            .size
    }
}

#[test]
fn a_conflict_in_the_middle_of_a_group_rolls_back_only_itself() {
    let mut fixture = fixture();
    // The claim is not there, so that the change stops after its first write.
    let conflict = recorded("b").write(Write::PresentKey(
        "c-00000000000000ff".parse().unwrap(),
        Fingerprint([1; 32]),
    ));
    let verdicts = fixture.group(vec![recorded("a"), conflict, recorded("c")]);
    assert_eq!(verdicts, [Ok(0), Err(CommitError::Conflict), Ok(1)]);
    assert_eq!(fixture.settings(), ["a", "c"]);
    assert_eq!(fixture.verified(), 2);
}

#[test]
fn a_change_that_rests_on_what_is_not_the_newest_record_does_not_happen() {
    let mut fixture = fixture();
    let expecting = |name, newest| recorded(name).expecting("a".into(), newest);
    let verdicts = fixture.group(vec![
        expecting("a", None),
        // The first is in the same group, and has happened all the same.
        expecting("b", None),
        expecting("a", Some(0)),
        expecting("c", Some(0)),
    ]);
    let changed = || Err(CommitError::Changed);
    assert_eq!(verdicts, [Ok(0), changed(), Ok(1), changed()]);
    assert_eq!(fixture.settings(), ["a"]);
    assert_eq!(fixture.verified(), 2);
}

#[test]
fn what_was_refused_about_a_thing_makes_no_newer_version_of_it() {
    let mut fixture = fixture();
    let at = Timestamp::from_s(1_800_000_000);
    let refused = || {
        let entry = Entry::new(at, Actor::gateway(), "token.refuse", "a".into());
        Change::record(entry)
    };
    let verdicts = fixture.group(vec![
        refused(),
        recorded("a").expecting("a".into(), None),
        refused(),
        recorded("a").expecting("a".into(), Some(1)),
        recorded("a").expecting("a".into(), Some(2)),
    ]);
    assert_eq!(
        verdicts,
        [Ok(0), Ok(1), Ok(2), Ok(3), Err(CommitError::Changed)]
    );
    let plan = fixture.plan(NEWEST_DECISION);
    assert!(plan.contains("USING INDEX audit_decided"), "{plan}");
}

#[test]
fn a_change_that_the_registry_cannot_hold_takes_no_other_with_it() {
    let mut fixture = fixture();
    let claim = Claim::opened(
        "c-00000000000000ff".parse().unwrap(),
        "lamp".parse().unwrap(),
        Fingerprint([1; 32]),
        Timestamp::from_s(0),
        LIFETIME_DEFAULT,
    );
    let opened = || recorded("b").write(Write::OpenClaim(claim.clone()));
    let verdicts = fixture.group(vec![opened(), opened(), recorded("c")]);
    assert!(matches!(
        &verdicts[..],
        [Ok(0), Err(CommitError::Unfit(_)), Ok(1)]
    ));
    assert_eq!(fixture.verified(), 2);
}

#[test]
fn a_group_of_nothing_but_conflicts_leaves_the_log_as_it_is() {
    let mut fixture = fixture();
    assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
    let conflict = recorded("b").write(Write::CrlNumber("nowhere".into()));
    assert_eq!(fixture.group(vec![conflict]), [Err(CommitError::Conflict)]);
    assert_eq!(fixture.group(vec![recorded("c")]), [Ok(1)]);
    assert_eq!(fixture.settings(), ["a", "c"]);
    assert_eq!(fixture.verified(), 2);
}

#[test]
fn a_commit_whose_end_was_not_known_is_known_once_something_is_committed_after_it() {
    let mut fixture = fixture();
    assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
    let mut settled = |sizes| {
        let done = (vec![Ok(0)], None);
        let settled = fixture.state.settle(sizes, done, "EIO".into());
        settled.map(|(verdicts, _)| verdicts)
    };
    assert_eq!(settled((0, 1)), Ok(vec![Ok(0)]), "it is there");
    let nothing = CommitError::Unavailable("EIO".into());
    assert_eq!(settled((1, 2)), Err(nothing), "it is not");
    let unknown = CommitError::Unknown("EIO".into());
    assert_eq!(settled((1, 1)), Err(unknown.clone()), "it left no record");
    assert_eq!(settled((2, 3)), Err(unknown), "others are missing, too");
    assert_eq!(fixture.settings(), ["a", SETTLED]);
    assert_eq!(fixture.group(vec![recorded("b")]), [Ok(1)]);
    assert_eq!(fixture.verified(), 2);
}

#[test]
fn nothing_is_committed_to_a_log_that_was_taken_away_and_nothing_is_lost() {
    let mut fixture = fixture();
    assert_eq!(fixture.group(vec![recorded("a")]), [Ok(0)]);
    fixture.state.database = DatabaseFiles::of(&fixture.state.dir).unwrap();
    let log = fixture.state.path.with_file_name("hearthkey.db-wal");
    std::fs::remove_file(&log).unwrap();
    let verdicts = fixture.group(vec![recorded("b")]);
    let told = match &verdicts[..] {
        [Err(CommitError::Unavailable(told))] => told,
        other => panic!("{other:?}"),
    };
    assert!(told.contains("hearthkey.db-wal was removed"), "{told}");
    // As when the gateway stops.
    let (connection, _) = fixture.state.open.take().unwrap();
    connection
        .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
    drop(connection);
    assert_eq!(fixture.settings(), ["a"]);
}

#[test]
fn after_a_failed_commit_the_reopened_writer_continues_the_tree() {
    let mut fixture = fixture();
    for name in ["a", "b", "c"] {
        assert!(fixture.group(vec![recorded(name)])[0].is_ok());
    }
    let (connection, _) = fixture.state.open.as_ref().unwrap();
    let full = |connection: &Connection| {
        let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        // Answers with the new limit, which holds for this connection only.
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
    };
    full(connection).unwrap();
    let large = recorded("d").write(Write::Setting("large", vec![7; 1 << 20]));
    let verdicts = fixture.group(vec![recorded("e"), large]);
    for verdict in verdicts {
        assert!(matches!(verdict, Err(CommitError::Unavailable(_))));
    }
    assert_eq!(fixture.verified(), 3);
    assert_eq!(fixture.group(vec![recorded("f")]), [Ok(3)]);
    assert_eq!(fixture.settings(), ["a", "b", "c", "f"]);
    assert_eq!(fixture.verified(), 4);
}
