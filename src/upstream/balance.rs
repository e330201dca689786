//! Which of several controllers is asked, pure.
//!
//! Only controllers of the best priority that is up take part. Two of them are picked at random, by weight, and the one with less to do is
//! asked: nearly as even as always asking the least busy one, without sending everybody to the same. One that came back a moment ago takes
//! part in a growing share of the choices, so that it is not overrun while its own caches are cold. The random numbers are arguments.

/// What is known of one server when it is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// May it be asked?
    pub(crate) call: Call,
    /// Where it stands among the others.
    pub(crate) rank: Rank,
    /// The part of the choices that it takes part in, from 0 to 1.
    pub(crate) share: f64,
    /// Operations that it has not answered yet.
    pub(crate) outstanding: usize,
}

/// May a server be asked?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is up, and this operation has not tried it yet.
    Eligible,
    /// Operations break off there, and no probe has said more yet: only where no other is eligible.
    LastResort,
    /// It is down, or has been tried.
    Out,
}

/// Where a server stands among those of its directory, as in RFC 2782.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Lower ones first; the next only when none of these is up.
    pub(crate) priority: u16,
    /// Its part among those of one priority, in proportion; 0 counts as the least.
    pub(crate) weight: u16,
}

/// The numbers that one choice draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Random {
    /// For the two that are picked.
    pub(crate) picks: [u32; 2],
    /// For those that come back, from 0 to 1: at 1 they take no part, where another is eligible.
    pub(crate) share: f64,
}

/// The index of the server to ask; `None` when there is none. Calling it again with the chosen one out gives the order of failover.
pub(crate) fn choose(loads: &[Load], random: Random) -> Option<usize> {
    let is_in_turn = |load: &Load| load.call == Call::Eligible && load.share >= random.share;
    let is_eligible = |load: &Load| load.call == Call::Eligible;
    let is_last_resort = |load: &Load| load.call == Call::LastResort;
    let kinds: [&dyn Fn(&Load) -> bool; 3] = [&is_in_turn, &is_eligible, &is_last_resort];
    let (may, priority) = kinds.into_iter().find_map(|may| Some((may, best_priority(loads, may)?)))?;
    let group = || loads.iter().enumerate().filter(|(_, load)| may(load) && load.rank.priority == priority);
    let [first, second] = random.picks;
    let first = pick(group, first)?;
    // The second pick is among the others, so that two servers are always compared where there are two.
    match pick(|| group().filter(|other| other.0 != first.0), second) {
        Some(second) if is_less_busy(second.1, first.1) => Some(second.0),
        _ => Some(first.0),
    }
}

/// The best priority among those that `may` be asked.
fn best_priority(loads: &[Load], may: &dyn Fn(&Load) -> bool) -> Option<u16> {
    loads.iter().filter(|load| may(load)).map(|load| load.rank.priority).min()
}

/// One of a group, each with its index, at random, in proportion to the weights; `None` of none.
fn pick<'a, I: Iterator<Item = (usize, &'a Load)>>(group: impl Fn() -> I, random: u32) -> Option<(usize, &'a Load)> {
    let all: u32 = group().map(|(_, load)| weight(load)).sum();
    let mut left = random.checked_rem(all)?;
    group().find(|(_, load)| {
        let is_it = left < weight(load);
        left = left.saturating_sub(weight(load));
        is_it
    })
}

/// A server of twice the weight is as busy with twice as much to do.
fn is_less_busy(one: &Load, other: &Load) -> bool {
    let busy = |load: &Load, than: &Load| load.outstanding as u64 * u64::from(weight(than));
    busy(one, other) < busy(other, one)
}

fn weight(load: &Load) -> u32 {
    u32::from(load.rank.weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn up(outstanding: usize) -> Load {
        ranked(outstanding, 1, 1)
    }

    const fn ranked(outstanding: usize, priority: u16, weight: u16) -> Load {
        Load { call: Call::Eligible, rank: Rank { priority, weight }, share: 1.0, outstanding }
    }

    const OUT: Load = Load { call: Call::Out, ..up(0) };
    const BUSY: Load = Load { call: Call::LastResort, ..up(0) };

    const fn random(first: u32, second: u32) -> Random {
        Random { picks: [first, second], share: 0.5 }
    }

    /// How often each is asked, over all pairs of picks.
    fn asked<const N: usize>(loads: [Load; N], share: f64) -> [u32; N] {
        let mut asked = [0; N];
        for first in 0..30 {
            for second in 0..30 {
                asked[choose(&loads, Random { picks: [first, second], share }).unwrap()] += 1;
            }
        }
        asked
    }

    #[test]
    fn the_less_busy_of_the_two_picked_is_asked() {
        for first in 0..8 {
            for second in 0..8 {
                assert_eq!(choose(&[up(5), up(2)], random(first, second)), Some(1));
            }
        }
        assert_eq!(choose(&[up(5), up(4), up(0)], random(0, 0)), Some(1), "the idle third was not picked");
    }

    #[test]
    fn a_server_that_is_down_is_never_asked() {
        for first in 0..8 {
            for second in 0..8 {
                assert_eq!(choose(&[OUT, up(9), OUT], random(first, second)), Some(1));
                assert_eq!(choose(&[OUT, OUT], random(first, second)), None);
            }
        }
        assert_eq!(choose(&[], random(1, 2)), None);
    }

    #[test]
    fn equal_servers_are_asked_in_turn_by_chance() {
        assert_eq!(asked([up(1), up(1), up(1)], 0.5), [300, 300, 300]);
    }

    #[test]
    fn failover_visits_every_server_once_and_the_better_priority_first() {
        let mut loads = [ranked(0, 2, 1), ranked(3, 1, 1), ranked(2, 1, 1)];
        let mut order = Vec::new();
        while let Some(index) = choose(&loads, random(7, 5)) {
            loads[index].call = Call::Out;
            order.push(index);
        }
        assert_eq!(order, [2, 1, 0]);
    }

    #[test]
    fn however_busy_the_nearer_site_is_the_other_one_waits() {
        assert_eq!(asked([ranked(500, 1, 1), ranked(0, 2, 1)], 0.5), [900, 0]);
        assert_eq!(asked([OUT, ranked(500, 2, 1), ranked(0, 3, 1)], 0.5), [0, 900, 0]);
    }

    #[test]
    fn weights_divide_the_work_in_proportion() {
        assert_eq!(asked([ranked(0, 1, 20), ranked(0, 1, 10)], 0.5), [600, 300]);
        assert_eq!(asked([ranked(6, 1, 2), ranked(4, 1, 1)], 0.5), [900, 0], "six of two are less than four of one");
        assert_eq!(asked([ranked(0, 1, 0), ranked(0, 1, 0)], 0.5), [450, 450], "no weight is the least, not none");
    }

    #[test]
    fn one_that_comes_back_takes_part_in_its_share_of_the_choices() {
        let back = Load { share: 0.3, ..up(0) };
        assert_eq!(asked([back, up(9)], 0.3), [900, 0], "in turn, and idle");
        assert_eq!(asked([back, up(9)], 0.31), [0, 900]);
        assert_eq!(asked([up(0), up(9)], 1.0), [900, 0], "one that never was away is always in turn");
        assert_eq!(asked([back, ranked(9, 2, 1)], 0.9), [0, 900], "the further site goes on serving meanwhile");
        assert_eq!(asked([back, OUT], 0.9), [900, 0], "alone it takes all");
    }

    #[test]
    fn one_that_says_busy_is_asked_where_nobody_else_is_left() {
        assert_eq!(asked([BUSY, up(9)], 0.5), [0, 900]);
        assert_eq!(asked([BUSY, OUT], 0.5), [900, 0]);
    }
}
