//! Which of several equal controllers is asked, pure.
//!
//! Two are picked at random and the one with less to do is taken: nearly as even as asking the least busy one, without sending everybody
//! to the one that has just come back. The random numbers are arguments.

/// What is known of one server when it is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// It may be asked: it is up, and this operation has not tried it yet.
    pub(crate) eligible: bool,
    /// Operations that it has not answered yet.
    pub(crate) outstanding: usize,
}

/// The index of the server to ask; `None` when no server is eligible. Calling it again with the chosen one no longer eligible gives the
/// order of failover.
pub(crate) fn choose(loads: &[Load], random: [u32; 2]) -> Option<usize> {
    let eligible = loads.iter().filter(|load| load.eligible).count();
    let [first, second] = random;
    let first = nth_eligible(loads, pick(first, eligible)?)?;
    // The second pick is among the others, so that two servers are always compared where there are two.
    let others = loads.iter().enumerate().filter(|(index, load)| load.eligible && *index != first.0);
    let second = pick(second, eligible - 1).and_then(|n| others.map(|(index, load)| (index, *load)).nth(n));
    match second {
        Some((index, load)) if load.outstanding < first.1.outstanding => Some(index),
        _ => Some(first.0),
    }
}

fn nth_eligible(loads: &[Load], n: usize) -> Option<(usize, Load)> {
    loads.iter().enumerate().filter(|(_, load)| load.eligible).nth(n).map(|(index, load)| (index, *load))
}

/// A number below `bound` from a random one; `None` when the bound is zero.
const fn pick(random: u32, bound: usize) -> Option<usize> {
    if bound == 0 { None } else { Some(random as usize % bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn up(outstanding: usize) -> Load {
        Load { eligible: true, outstanding }
    }

    const OUT: Load = Load { eligible: false, outstanding: 0 };

    #[test]
    fn the_less_busy_of_the_two_picked_is_asked() {
        for first in 0..8 {
            for second in 0..8 {
                assert_eq!(choose(&[up(5), up(2)], [first, second]), Some(1));
            }
        }
        assert_eq!(choose(&[up(5), up(4), up(0)], [0, 0]), Some(1), "the idle third was not picked");
    }

    #[test]
    fn a_server_that_is_down_is_never_asked() {
        for first in 0..8 {
            for second in 0..8 {
                assert_eq!(choose(&[OUT, up(9), OUT], [first, second]), Some(1));
                assert_eq!(choose(&[OUT, OUT], [first, second]), None);
            }
        }
        assert_eq!(choose(&[], [1, 2]), None);
    }

    #[test]
    fn equal_servers_are_asked_in_turn_by_chance() {
        let mut asked = [0; 3];
        for first in 0..30 {
            for second in 0..30 {
                asked[choose(&[up(1), up(1), up(1)], [first, second]).unwrap()] += 1;
            }
        }
        assert_eq!(asked, [300, 300, 300]);
    }

    #[test]
    fn failover_visits_every_server_once() {
        let mut loads = [up(3), up(1), up(2)];
        let mut order = Vec::new();
        while let Some(index) = choose(&loads, [7, 5]) {
            loads[index].eligible = false;
            order.push(index);
        }
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
    }
}
