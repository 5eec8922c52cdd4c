use super::*;

const TODAY: i64 = 1_800_000_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// What the kernel says of its clock.
const SYNCHRONIZED: Option<bool> = Some(true);
const NOT: Option<bool> = Some(false);

fn reading(wall_s: i64, monotonic_s: i64) -> Reading {
    Reading {
        wall: Timestamp::from_s(wall_s),
        monotonic_ms: monotonic_s * 1000,
    }
}

fn at(s: i64) -> Timestamp {
    Timestamp::from_s(s)
}

/// A machine with a kernel that says this of its clock.
struct Machine {
    time: TrustedTime,
    kernel: Option<bool>,
}

impl Machine {
    fn running(kernel: Option<bool>) -> Self {
        Self::booted(TODAY, kernel, at(TODAY), Gained::default())
    }

    fn booted(wall_s: i64, kernel: Option<bool>, last: Timestamp, gained: Gained) -> Self {
        Self {
            time: TrustedTime::start(reading(wall_s, 0), || kernel, Some((last, gained))),
            kernel,
        }
    }

    fn now(&mut self, wall_s: i64, monotonic_s: i64) -> i64 {
        let kernel = self.kernel;
        self.time
            .now(reading(wall_s, monotonic_s), || kernel)
            .as_s()
    }

    fn why(&self) -> Option<Doubt> {
        self.time.doubted().map(|doubted| doubted.why)
    }

    /// Off and on again, with this on the machine's clock.
    fn rebooted(mut self, wall_s: i64, monotonic_s: i64) -> Self {
        let last = self.now(wall_s, monotonic_s);
        self.time
            .follow(reading(wall_s, monotonic_s), || self.kernel);
        Self::booted(wall_s, self.kernel, at(last), self.time.gained())
    }
}

#[test]
fn home_time_follows_steps_of_a_day_forward_synchronized_or_not() {
    for kernel in [SYNCHRONIZED, NOT, None] {
        let mut pi = Machine::running(kernel);
        assert_eq!(pi.now(TODAY + 10, 10), TODAY + 10);
        assert_eq!(pi.now(TODAY + 11 + 8 * HOUR, 11), TODAY + 11 + 8 * HOUR);
        let step = Step {
            from: at(TODAY + 11),
            to: at(TODAY + 11 + 8 * HOUR),
            synchronized: kernel,
        };
        assert_eq!(pi.time.take_steps(), [step]);
        assert!(pi.time.take_steps().is_empty());
        let off = Machine::booted(TODAY + 8 * HOUR, kernel, at(TODAY), Gained::default());
        assert!(off.time.is_trusted());
    }
}

#[test]
fn a_pi_that_was_off_for_eight_hours_needs_no_person() {
    // It boots with the time that was saved 20 minutes before the cut; later NTP sets the clock.
    let mut pi = Machine::booted(TODAY - 20 * 60, NOT, at(TODAY), Gained::default());
    assert_eq!(pi.why(), Some(Doubt::Behind));
    assert_eq!(pi.now(TODAY - 20 * 60 + 90, 90), TODAY + 90);
    pi.kernel = SYNCHRONIZED;
    assert_eq!(pi.now(TODAY + 8 * HOUR, 91), TODAY + 8 * HOUR);
    assert!(pi.time.is_trusted());
}

#[test]
fn steps_of_up_to_five_minutes_are_not_written_down() {
    let mut pi = Machine::running(SYNCHRONIZED);
    assert_eq!(pi.now(TODAY + 300, 0), TODAY + 300);
    assert_eq!(pi.now(TODAY, 0), TODAY + 300);
    assert!(pi.time.take_steps().is_empty() && pi.time.is_trusted());
}

#[test]
fn a_clock_that_is_not_synchronized_gains_a_day_in_all_over_restarts_too() {
    let mut pi = Machine::running(NOT);
    assert_eq!(pi.now(TODAY + 10 * HOUR, 0), TODAY + 10 * HOUR);
    let mut pi = pi.rebooted(TODAY + 20 * HOUR, 0);
    assert_eq!(pi.now(TODAY + 20 * HOUR, 0), TODAY + 20 * HOUR);
    let mut pi = pi.rebooted(TODAY + 30 * HOUR, 0);
    assert_eq!(pi.why(), Some(Doubt::TooManySteps));
    assert_eq!(pi.now(TODAY + 30 * HOUR + 5, 5), TODAY + 20 * HOUR + 5);
    // A kernel that has found its time gives the day back.
    pi.kernel = SYNCHRONIZED;
    assert_eq!(pi.now(TODAY + 30 * HOUR + 6, 6), TODAY + 30 * HOUR + 6);
    assert_eq!(pi.time.gained().unsynchronized_ms, 0);
}

#[test]
fn small_gains_add_up_as_steps_do() {
    let mut pi = Machine::running(NOT);
    let mut home = 0;
    for s in 1..DAY + 10 {
        home = pi.now(TODAY + s, 0);
    }
    assert_eq!(pi.why(), Some(Doubt::TooManySteps));
    assert_eq!(home, TODAY + DAY);
}

#[test]
fn a_synchronized_clock_is_followed_back_and_written_down() {
    let mut pi = Machine::running(SYNCHRONIZED);
    assert_eq!(pi.now(TODAY - 20 * HOUR, 0), TODAY - 20 * HOUR);
    assert!(pi.time.is_trusted());
    let [step] = pi.time.take_steps()[..] else {
        panic!("one step")
    };
    assert!(step.is_back());
    // One that is not goes on, and is right when the clock has caught up.
    let mut pi = Machine::running(NOT);
    assert_eq!(pi.now(TODAY - HOUR, 1), TODAY + 1);
    assert_eq!(pi.why(), Some(Doubt::Behind));
    assert_eq!(pi.now(TODAY - 299 + 2, 2), TODAY + 2);
    assert!(pi.time.is_trusted());
}

#[test]
fn a_synchronized_clock_cannot_be_walked_away_a_day_at_a_time() {
    for direction in [1, -1] {
        let mut pi = Machine::running(SYNCHRONIZED);
        let mut wall = TODAY;
        while pi.time.is_trusted() {
            wall += direction * 23 * HOUR;
            pi.now(wall, 0);
        }
        let home = pi.now(wall, 0);
        assert_eq!(pi.why(), Some(Doubt::TooManySteps));
        assert!((home - TODAY).abs() <= 3 * DAY, "{direction}");
        // Three days of running later it may step again.
        assert_eq!(pi.now(wall + 3 * DAY, 3 * DAY), wall + 3 * DAY);
    }
}

#[test]
fn more_than_a_day_in_either_direction_is_not_followed_synchronized_or_not() {
    for kernel in [SYNCHRONIZED, NOT, None] {
        for (away_s, why) in [
            (25 * HOUR, Doubt::FarAhead),
            (119 * DAY, Doubt::FarAhead),
            (3_650 * DAY, Doubt::FarAhead),
            (-25 * HOUR, Doubt::FarBehind),
            (-119 * DAY, Doubt::FarBehind),
            (-3_650 * DAY, Doubt::BeforeProgram),
        ] {
            let mut pi = Machine::running(kernel);
            assert_eq!(pi.now(TODAY + away_s, 5), TODAY + 5, "{away_s}");
            assert_eq!(pi.why(), Some(why), "{away_s}");
            let mut pi = Machine::booted(TODAY + away_s, kernel, at(TODAY), Gained::default());
            assert_eq!(pi.why(), Some(why), "{away_s}");
            assert_eq!(pi.now(TODAY + away_s + 7, 7), TODAY + 7, "{away_s}");
            // Right again: nothing is left of it.
            assert_eq!(pi.now(TODAY + 8, 8), TODAY + 8, "{away_s}");
            assert!(pi.time.is_trusted() && pi.time.take_steps().is_empty());
        }
    }
}

#[test]
fn since_when_it_is_doubted_stays_while_the_reason_changes() {
    let mut pi = Machine::running(NOT);
    pi.now(TODAY + 10_000_000, 5);
    pi.now(TODAY - 3 * HOUR, 6);
    let doubted = Doubted {
        since: at(TODAY + 5),
        why: Doubt::Behind,
    };
    assert_eq!(pi.time.doubted(), Some(doubted));
}

#[test]
fn a_person_sets_home_time_forward_and_back_again() {
    let mut pi = Machine::running(NOT);
    let wrong = reading(TODAY + 119 * DAY, 1);
    pi.now(TODAY + 119 * DAY, 1);
    let step = pi.time.confirm(wrong, NOT).unwrap();
    assert_eq!((step.from, step.to), (at(TODAY + 1), wrong.wall));
    assert_eq!(pi.now(TODAY + 119 * DAY + 1, 2), TODAY + 119 * DAY + 1);
    // The clock is put right, and confirmed: back the other way.
    assert_eq!(pi.now(TODAY + 3, 3), TODAY + 119 * DAY + 2);
    assert_eq!(pi.why(), Some(Doubt::FarBehind));
    let step = pi.time.confirm(reading(TODAY + 3, 3), NOT).unwrap();
    assert!(step.is_back());
    assert_eq!(pi.now(TODAY + 4, 4), TODAY + 4);
    assert!(pi.time.is_trusted());
}

#[test]
fn nothing_is_destroyed_within_a_day_after_home_time_was_set_by_more_than_a_day() {
    let mut pi = Machine::running(NOT);
    assert!(pi.time.is_settled());
    pi.time.confirm(reading(TODAY + 20 * HOUR, 0), NOT).unwrap();
    assert!(pi.time.is_settled(), "by less than a day");
    pi.time.confirm(reading(TODAY + 119 * DAY, 0), NOT).unwrap();
    let mut pi = pi.rebooted(TODAY + 119 * DAY + HOUR, HOUR);
    assert!(pi.time.is_trusted() && !pi.time.is_settled());
    let later = reading(TODAY + 119 * DAY + 25 * HOUR, DAY);
    pi.time.follow(later, || NOT);
    assert!(pi.time.is_settled());
}

#[test]
fn nobody_can_confirm_a_clock_from_before_the_program() {
    let mut pi = Machine::running(SYNCHRONIZED);
    assert_eq!(pi.time.confirm(reading(5, 5), NOT), None);
    assert_eq!(pi.now(5, 5), TODAY + 5);
}

#[test]
fn a_new_home_believes_no_clock_from_before_the_program() {
    let mut new = Machine {
        time: TrustedTime::start(reading(0, 0), || NOT, None),
        kernel: NOT,
    };
    assert_eq!(new.why(), Some(Doubt::BeforeProgram));
    assert_eq!(new.now(TODAY, 60), TODAY);
    assert!(new.time.is_trusted());
    assert!(TrustedTime::start(reading(TODAY, 0), || NOT, None).is_trusted());
}
