use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> BootInstant {
    BootInstant::from_nanos(seconds * SECOND)
}

fn dial(machine: &mut Reconnect) -> bool {
    machine.poll_command().is_some()
}

fn until(machine: &Reconnect) -> BootInstant {
    machine.poll_timeout().expect("a timeout is set")
}

/// A machine that is connected since second 1.
fn connected() -> Reconnect {
    let mut machine = Reconnect::new(ReconnectConfig::default());
    machine.start(at(0));
    assert!(dial(&mut machine));
    machine.handle_connected(at(1));
    machine
}

#[test]
fn starts_with_a_dial_and_rests_while_connected() {
    let mut machine = connected();
    assert!(!dial(&mut machine));
    assert_eq!(machine.poll_timeout(), None);
    assert_eq!(machine.state(), ReconnectState::Connected { since: at(1), replacing: false });
}

#[test]
fn pauses_double_up_to_the_cap() {
    let mut machine = Reconnect::new(ReconnectConfig::default());
    machine.start(at(0));
    let mut longest = Vec::new();
    let mut now = at(0);
    for _ in 0..9 {
        assert!(dial(&mut machine));
        machine.handle_dial_failed(LossKind::Transient, now, u64::MAX);
        let due = until(&machine);
        longest.push((due - now).as_millis().div_ceil(100) * 100);
        now = due;
        machine.handle_timeout(now);
    }
    assert_eq!(longest, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
}

#[test]
fn jitter_is_full_and_keeps_the_floor() {
    for (random, expected) in [(0, 250), (u64::MAX / 2, 625), (u64::MAX, 1_000)] {
        let mut machine = connected();
        machine.handle_lost(LossKind::Transient, at(100), random);
        assert_eq!((until(&machine) - at(100)).as_millis().div_ceil(5) * 5, expected);
    }
}

#[test]
fn a_connection_that_lived_ends_the_series() {
    let mut machine = connected();
    machine.handle_lost(LossKind::Transient, at(2), 0);
    assert_eq!(machine.failures(), 1);
    machine.handle_timeout(until(&machine));
    machine.handle_connected(at(3));
    machine.handle_lost(LossKind::Transient, at(4), 0);
    assert_eq!(machine.failures(), 2, "one that did not live counts as a failure");
    machine.handle_timeout(until(&machine));
    machine.handle_connected(at(5));
    machine.handle_lost(LossKind::Transient, at(35), 0);
    assert_eq!(machine.failures(), 0);
}

#[test]
fn a_refusal_is_not_hammered() {
    let mut machine = connected();
    machine.handle_lost(LossKind::Refused, at(100), u64::MAX);
    assert!(until(&machine) > at(159));
}

#[test]
fn network_change_ends_the_pause() {
    let mut machine = connected();
    for second in 0..10 {
        machine.handle_lost(LossKind::Transient, at(100 + second * 100), u64::MAX);
        machine.handle_timeout(until(&machine));
        assert!(dial(&mut machine));
        machine.handle_dial_failed(LossKind::Transient, at(170 + second * 100), u64::MAX);
    }
    machine.handle_network_changed(at(2_000));
    assert!(dial(&mut machine));
    machine.handle_dial_failed(LossKind::Transient, at(2_001), u64::MAX);
    assert!(until(&machine) <= at(2_002), "the series begins anew");
}

#[test]
fn resume_replaces_a_connection_and_keeps_it_meanwhile() {
    let mut machine = connected();
    machine.handle_resumed(at(50));
    assert!(dial(&mut machine));
    assert_eq!(machine.state(), ReconnectState::Connected { since: at(1), replacing: true });
    // It fails; the old one serves on.
    machine.handle_dial_failed(LossKind::Transient, at(51), 0);
    assert_eq!(machine.state(), ReconnectState::Connected { since: at(1), replacing: false });
    // Again, and this time the old one goes first: the dial under way is the one that counts.
    machine.handle_resumed(at(60));
    assert!(dial(&mut machine));
    machine.handle_lost(LossKind::Transient, at(61), 0);
    assert_eq!(machine.state(), ReconnectState::Dialing);
    assert_eq!(machine.poll_timeout(), None);
    machine.handle_connected(at(62));
    assert_eq!(machine.state(), ReconnectState::Connected { since: at(62), replacing: false });
}

#[test]
fn stop_is_final_until_start() {
    let mut machine = connected();
    machine.handle_resumed(at(50));
    machine.stop();
    assert!(!dial(&mut machine));
    machine.handle_network_changed(at(51));
    machine.handle_connected(at(52));
    machine.handle_lost(LossKind::Transient, at(53), 0);
    assert_eq!((machine.state(), machine.poll_timeout()), (ReconnectState::Stopped, None));
    assert!(!dial(&mut machine));
    machine.start(at(54));
    assert!(dial(&mut machine));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Start,
    Stop,
    Connected,
    DialFailed(LossKind),
    Lost(LossKind),
    Network,
    Resumed,
    Timeout,
    /// The shell does what it should: waits for the timeout.
    WaitForTimeout,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::{Connected, DialFailed, Lost, Network, Resumed, Start, Stop, Timeout, WaitForTimeout};
    prop_oneof![
        1 => Just(Start),
        1 => prop_oneof![4 => Just(Start), 1 => Just(Stop)],
        4 => Just(Connected),
        4 => Just(DialFailed(LossKind::Transient)),
        1 => Just(DialFailed(LossKind::Refused)),
        4 => Just(Lost(LossKind::Transient)),
        1 => Just(Lost(LossKind::Refused)),
        3 => Just(Network),
        2 => Just(Resumed),
        2 => Just(Timeout),
        6 => Just(WaitForTimeout),
    ]
}

proptest! {
    /// Whatever happens, in or out of order: never a tight loop, never a machine that sits still for ever.
    #[test]
    fn never_tight_and_never_stuck(
        events in prop::collection::vec((event(), 0..2_000_u64, any::<u64>()), 1..200),
    ) {
        let config = ReconnectConfig::default();
        let mut machine = Reconnect::new(config);
        let mut now = BootInstant::from_nanos(0);
        let mut last_dial: Option<BootInstant> = None;
        for (event, pause_ms, random) in events {
            now = now + Duration::from_millis(pause_ms);
            match event {
                Event::Start => machine.start(now),
                Event::Stop => machine.stop(),
                Event::Connected => machine.handle_connected(now),
                Event::DialFailed(kind) => machine.handle_dial_failed(kind, now, random),
                Event::Lost(kind) => machine.handle_lost(kind, now, random),
                Event::Network => machine.handle_network_changed(now),
                Event::Resumed => machine.handle_resumed(now),
                Event::Timeout => machine.handle_timeout(now),
                Event::WaitForTimeout => {
                    if let Some(due) = machine.poll_timeout() {
                        prop_assert!(due <= now + config.cap);
                        now = now.max(due);
                        machine.handle_timeout(now);
                    }
                }
            }
            if machine.poll_command().is_some() {
                if let Some(last) = last_dial {
                    prop_assert!(now - last >= config.floor, "dials {:?} apart", now - last);
                }
                last_dial = Some(now);
            }
            prop_assert!(machine.poll_command().is_none(), "one command at a time");
            match machine.state() {
                ReconnectState::Waiting { until } => {
                    prop_assert_eq!(machine.poll_timeout(), Some(until));
                    prop_assert!(until <= now + config.cap);
                }
                ReconnectState::Dialing => prop_assert!(last_dial.is_some()),
                ReconnectState::Stopped => prop_assert_eq!(machine.poll_timeout(), None),
                ReconnectState::Connected { .. } => {}
            }
        }
    }

    /// A shell that behaves, against a relay that never answers: about one dial a minute in the long run.
    #[test]
    fn long_outage_is_cheap(randoms in prop::collection::vec(any::<u64>(), 200)) {
        let mut machine = Reconnect::new(ReconnectConfig::default());
        machine.start(at(0));
        let mut now = at(0);
        let mut dials = 0;
        for random in randoms {
            prop_assert!(machine.poll_command().is_some());
            dials += 1;
            machine.handle_dial_failed(LossKind::Transient, now, random);
            now = machine.poll_timeout().expect("waiting");
            machine.handle_timeout(now);
        }
        // The mean pause at the cap is half of it; random draws of 200 stay well within a factor of two.
        prop_assert!((now - at(0)).as_secs() > dials * 15, "{dials} dials in {:?}", now - at(0));
    }
}
